//! JSONPath, compiled once for each spec.

use jsonpath_rust::{
    parser::{model::JpQuery, parse_json_path},
    query::js_path_process,
};
use serde_json::Value;

/// The maximum number of matches in one report: writers of reports must not decide the cost of a collection.
const MATCHES: usize = 256;

/// The maximum nesting of calls. Each level makes the parser about four times slower on an invalid path.
const NESTED: usize = 3;

/// A compiled JSONPath.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    text: String,
    query: JpQuery,
}

impl Path {
    /// # Errors
    /// What is wrong with the text, for the user.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // Each further `..`, and each `$` in a filter, multiplies the cost of reading a report by the size of the
        // report.
        if text.matches("..").count() > 1 {
            return Err("it has more than one '..'; name the members instead, like $.processes[*].name".into());
        }
        if unquoted(text).filter(|c| *c == '$').count() > 1 {
            return Err(
                "it has a second '$', which would search the whole report for each element; compare with a fixed \
                        value instead, like $.processes[?@.name == 'web'].version"
                    .into(),
            );
        }
        let shape = Shape::of(text);
        if shape.deepest > NESTED {
            return Err(format!("it has more than {NESTED} nested parentheses; use fewer"));
        }
        if shape.lists > 1 {
            return Err("it has more than one list of members, like ['a','b']; add a field for each instead".into());
        }
        let query = parse_json_path(text).map_err(|error| {
            let error = error.to_string();
            let line = error.lines().rev().map(|l| l.trim_start_matches([' ', '=', '|'])).find(|l| !l.is_empty());
            format!("it is not a JSONPath (RFC 9535): {}", line.unwrap_or("it cannot be read"))
        })?;
        Ok(Self { text: text.into(), query })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The values at this place, in the order of the report.
    pub(super) fn find<'a>(&self, report: &'a Value) -> impl Iterator<Item = &'a Value> + use<'a> {
        let found = js_path_process(&self.query, report).unwrap_or_default();
        found.into_iter().take(MATCHES).map(|found| found.val)
    }
}

/// The properties of a path that decide its cost.
#[derive(Debug, Default)]
struct Shape {
    /// The maximum nesting of parentheses.
    deepest: usize,
    /// The number of brackets with several selectors. Each multiplies the matches.
    lists: usize,
}

impl Shape {
    fn of(text: &str) -> Self {
        let mut shape = Self::default();
        let mut open = Vec::new();
        for c in unquoted(text) {
            match (c, open.last_mut()) {
                ('(' | '[', _) => open.push((c, false)),
                (')' | ']', _) => drop(open.pop()),
                (',', Some(('[', several))) if !*several => {
                    *several = true;
                    shape.lists += 1;
                }
                _ => {}
            }
            shape.deepest = shape.deepest.max(open.iter().filter(|(c, _)| *c == '(').count());
        }
        shape
    }
}

/// The text without quoted parts.
fn unquoted(text: &str) -> impl Iterator<Item = char> {
    let (mut quote, mut escaped) = (None, false);
    text.chars().filter(move |&c| {
        let Some(open) = quote else {
            quote = matches!(c, '\'' | '"').then_some(c);
            return true;
        };
        if c == open && !escaped {
            quote = None;
        }
        escaped = c == '\\' && !escaped;
        false
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("$.app_version", json!(["1.2.3"]))]
    #[case("$.processes[*].module_A_filename", json!(["a-1", "a-2", "a-1"]))]
    #[case("$.processes[0].module_A_filename", json!(["a-1"]))]
    #[case("$['app_version']", json!(["1.2.3"]))]
    #[case("$..module_A_filename", json!(["a-1", "a-2", "a-1"]))]
    #[case("$.processes[?@.name == 'two'].module_A_filename", json!(["a-2"]))]
    #[case("$.processes[?@.name == '$' || @['it\\'s $'] == \"$\" || @.name == 'two'].module_A_filename", json!(["a-2"]))]
    #[case("$.processes[0,2]['name']", json!(["one", "three"]))]
    #[case("$.processes[?((@.name == 'two') && match(@.name, 't(w(o(,)?))'))].name", json!(["two"]))]
    #[case("$.nothing.here", json!([]))]
    #[case("$.app_version.deeper", json!([]))]
    fn paths_find_what_they_name(#[case] path: &str, #[case] expected: Value) {
        let report = json!({"app_version": "1.2.3", "processes": [
            {"name": "one", "module_A_filename": "a-1"},
            {"name": "two", "module_A_filename": "a-2"},
            {"name": "three", "module_A_filename": "a-1"},
        ]});
        let found: Vec<_> = Path::parse(path).unwrap().find(&report).cloned().collect();
        assert_eq!(json!(found), expected);
    }

    #[rstest]
    #[case("app_version")]
    #[case("$.")]
    #[case("$.a[")]
    #[case("$..a..b")]
    fn invalid_paths_are_rejected_with_an_explanation(#[case] text: &str) {
        let problem = Path::parse(text).unwrap_err();
        assert!(problem.starts_with("it ") && !problem.contains('\n'), "{problem}");
    }

    #[rstest]
    #[case("$[?$..a]")]
    #[case("$.a[?@.b == $.c]")]
    #[case("$[?@['\\'$'] == $['$']]")]
    #[case("$[?count( $ [*]) > 1]")]
    fn a_filter_cannot_search_the_whole_report_for_each_element(#[case] text: &str) {
        let problem = Path::parse(text).unwrap_err();
        assert!(problem.starts_with("it has a second '$'"), "{problem}");
    }

    #[test]
    fn every_invalid_path_is_rejected_quickly() {
        for text in ["$[?".to_owned() + &"length(".repeat(36), "$".to_owned() + &"[0,0]".repeat(51)] {
            let problem = Path::parse(&text).unwrap_err();
            assert!(problem.starts_with("it has more than "), "{problem}");
        }
    }

    proptest! {
        #[test]
        fn no_path_causes_a_panic(text in r"\$(\.[ab]|\.\.[ab]|\[\*\]|\[-?[0-9]{1,19}\]|\[-?[0-9]{0,19}:-?[0-9]{0,19}(:-?[0-9]{0,19})?\]|\[\?@\.a( (==|<|>=) (1|'x'|\$\.b))?\]|\[\?(length|count|value)\(@\.a\) > 0\]|\[\?match\(@, '[a(\[*]{0,3}'\)\]){0,4}") {
            let report = json!({"a": [1, {"a": "x", "b": [null, -1.5]}, "x"], "b": {"a": {}, "b": [[], [1, 2, 3]]}});
            if let Ok(path) = Path::parse(&text) {
                path.find(&report).for_each(drop);
            }
        }
    }
}

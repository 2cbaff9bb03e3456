//! JSONPath, compiled once for each spec, and evaluated within a number of steps.

use jsonpath_rust::{
    parser::{
        model::{JpQuery, Segment, Selector},
        parse_json_path,
    },
    query::js_path_process,
};
use serde_json::Value;

use crate::kinds::fleet_report::{
    patterns,
    steps::{Steps, TooComplex},
};

/// The maximum number of matches in one report: writers of reports must not decide the cost of a collection.
const MATCHES: usize = 256;

/// The maximum nesting of calls. Each level makes the parser about four times slower on an invalid path.
const NESTED: usize = 3;

/// The steps that compiling a pattern takes.
const COMPILE: u64 = 1000;

/// A compiled JSONPath.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    text: String,
    segments: Vec<Segment>,
    /// The number of times that filters look at a value below them, at most: no part of a filter is shorter than a
    /// character, and only a list of members repeats what follows it.
    weight: u64,
    /// The number of patterns in filters.
    patterns: u64,
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
        let JpQuery { segments } = parse_json_path(text).map_err(|error| {
            let error = error.to_string();
            let line = error.lines().rev().map(|l| l.trim_start_matches([' ', '=', '|'])).find(|l| !l.is_empty());
            format!("it is not a JSONPath (RFC 9535): {}", line.unwrap_or("it cannot be read"))
        })?;
        let patterns = patterns::checked(&segments)?;
        Ok(Self { text: text.into(), segments, weight: (text.len() * shape.longest.max(1)) as u64, patterns })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The values at this place, in the order of the report, and whether more were found than are returned.
    pub(super) fn find<'a>(&self, report: &'a Value, steps: &mut Steps) -> Result<(Vec<&'a Value>, bool), TooComplex> {
        let mut found = vec![report];
        for segment in &self.segments {
            found = self.follow(segment, found, steps)?;
        }
        let cut = found.len() > MATCHES;
        found.truncate(MATCHES);
        Ok((found, cut))
    }

    fn follow<'a>(
        &self,
        segment: &Segment,
        from: Vec<&'a Value>,
        steps: &mut Steps,
    ) -> Result<Vec<&'a Value>, TooComplex> {
        match segment {
            Segment::Descendant(segment) => {
                let mut containers = Vec::new();
                for value in from {
                    descend(value, &mut containers, steps)?;
                }
                self.follow(segment, containers, steps)
            }
            Segment::Selector(selector) => self.select(selector, &from, steps),
            Segment::Selectors(selectors) => {
                let mut found = Vec::new();
                for selector in selectors {
                    found.append(&mut self.select(selector, &from, steps)?);
                }
                Ok(found)
            }
        }
    }

    /// The library evaluates the selectors too, but writes down the path of each value, whose length the report decides,
    /// and cannot be stopped. It gets only the filters, whose cost is known before.
    fn select<'a>(
        &self,
        selector: &Selector,
        from: &[&'a Value],
        steps: &mut Steps,
    ) -> Result<Vec<&'a Value>, TooComplex> {
        let mut found = Vec::new();
        for value in from {
            steps.take(1)?;
            match (selector, value) {
                (Selector::Name(name), Value::Object(members)) => found.extend(members.get(name)),
                (Selector::Index(index), Value::Array(elements)) => found.extend(at(elements, *index)),
                (Selector::Wildcard, _) => {
                    steps.take(children(value).count() as u64)?;
                    found.extend(children(value));
                }
                (Selector::Slice(..), Value::Array(elements)) => {
                    steps.take(elements.len() as u64)?;
                    found.extend(library(selector, value));
                }
                (Selector::Filter(_), Value::Array(_) | Value::Object(_)) => {
                    self.charge(value, 0, steps)?;
                    found.extend(library(selector, value));
                }
                (Selector::Name(_) | Selector::Index(_) | Selector::Slice(..) | Selector::Filter(_), _) => {}
            }
        }
        Ok(found)
    }

    /// Takes the steps of a filter of `value`. `path` is the length of the names and indexes above it, which the library
    /// writes down for each value.
    fn charge(&self, value: &Value, path: u64, steps: &mut Steps) -> Result<(), TooComplex> {
        let size = if let Value::String(text) = value { text.len() as u64 } else { 0 };
        steps.take(self.weight.saturating_mul(1 + path / 16 + size / 64))?;
        steps.take(self.patterns.saturating_mul(COMPILE + size))?;
        match value {
            Value::Object(members) => {
                members.iter().try_for_each(|(name, value)| self.charge(value, path + name.len() as u64 + 4, steps))
            }
            Value::Array(elements) => elements.iter().try_for_each(|value| self.charge(value, path + 8, steps)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }
}

/// `value` and all arrays and objects below it.
fn descend<'a>(value: &'a Value, containers: &mut Vec<&'a Value>, steps: &mut Steps) -> Result<(), TooComplex> {
    steps.take(1)?;
    if matches!(value, Value::Array(_) | Value::Object(_)) {
        containers.push(value);
    }
    children(value).try_for_each(|child| descend(child, containers, steps))
}

fn children(value: &Value) -> impl Iterator<Item = &Value> {
    let (elements, members) = match value {
        Value::Array(elements) => (Some(elements), None),
        Value::Object(members) => (None, Some(members)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (None, None),
    };
    elements.into_iter().flatten().chain(members.into_iter().flat_map(|members| members.values()))
}

fn at(elements: &[Value], index: i64) -> Option<&Value> {
    let from_end = usize::try_from(index.unsigned_abs()).ok()?;
    elements.get(if index < 0 { elements.len().checked_sub(from_end)? } else { from_end })
}

/// What the library selects of the children of `value`.
fn library<'a>(selector: &Selector, value: &'a Value) -> impl Iterator<Item = &'a Value> + use<'a> {
    let query = JpQuery { segments: vec![Segment::Selector(selector.clone())] };
    js_path_process(&query, value).unwrap_or_default().into_iter().map(|found| found.val)
}

/// The properties of a path that decide its cost.
#[derive(Debug, Default)]
struct Shape {
    /// The maximum nesting of parentheses.
    deepest: usize,
    /// The number of brackets with several selectors. Each multiplies the matches.
    lists: usize,
    /// The maximum number of commas and one.
    longest: usize,
}

impl Shape {
    fn of(text: &str) -> Self {
        let mut shape = Self::default();
        let mut open = Vec::new();
        shape.longest = 1 + unquoted(text).filter(|c| *c == ',').count();
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
        let (found, cut) = Path::parse(path).unwrap().find(&report, &mut Steps::default()).unwrap();
        assert_eq!((json!(found), cut), (expected, false));
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

    #[test]
    fn a_pattern_is_a_small_literal() {
        for text in ["$[?match(@.a, @.b)]", "$.a[?count(@[?search(@, @)]) > 0]", "$[?match(@, '((a{99}){99}){99}')]"] {
            let problem = Path::parse(text).unwrap_err();
            assert!(problem.contains("pattern"), "{problem}");
        }
    }

    #[test]
    fn no_report_takes_more_than_the_allowed_steps() {
        let texts = json!(vec!["x"; 100_000]);
        let long_names = json!({"n".repeat(1 << 20): vec![json!({"a": 1}); 10_000]});
        let deep = (0..120).fold(json!(vec![1; 10_000]), |inner, _| json!([inner]));
        for (path, report) in [
            ("$[?match(@, '(x|y)*z')]", &texts),
            ("$[?@ == 'a' || @ == 'b' || @ == 'c' || @ == 'd' || @ == 'e']", &texts),
            ("$[0,0,0,0,0,0,0,0][?@..a]", &json!([long_names])),
            ("$[?@..a]", &long_names),
            ("$[?@[?@[?@[?@[?@[?@[?@[?@.a == 1]]]]]]]]", &deep),
        ] {
            assert!(Path::parse(path).unwrap().find(report, &mut Steps::default()).is_err(), "{path}");
        }
        // What has no filter takes a step for each value.
        for (path, report, found) in [("$.*", &texts, 256), ("$..*", &deep, 256), ("$..a", &long_names, 256)] {
            let (values, cut) = Path::parse(path).unwrap().find(report, &mut Steps::default()).unwrap();
            assert_eq!((values.len(), cut), (found, true), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_causes_a_panic(text in r"\$(\.[ab]|\.\.[ab]|\[\*\]|\[-?[0-9]{1,19}\]|\[-?[0-9]{0,19}:-?[0-9]{0,19}(:-?[0-9]{0,19})?\]|\[\?@\.a( (==|<|>=) (1|'x'|\$\.b))?\]|\[\?(length|count|value)\(@\.a\) > 0\]|\[\?match\(@, '[a(\[*]{0,3}'\)\]){0,4}") {
            let report = json!({"a": [1, {"a": "x", "b": [null, -1.5]}, "x"], "b": {"a": {}, "b": [[], [1, 2, 3]]}});
            if let Ok(path) = Path::parse(&text) {
                let found = path.find(&report, &mut Steps::default()).unwrap().0;
                let query = parse_json_path(&text).unwrap();
                let expected: Vec<_> = js_path_process(&query, &report).unwrap().into_iter().map(|f| f.val).collect();
                prop_assert_eq!(found, expected, "the library finds something else");
            }
        }
    }
}

//! The regular expressions in the filters of a JSONPath: `match` and `search` compile them for each element, so they must be
//! small, and must not come from the report.

use jsonpath_rust::parser::model::{
    Comparable, Filter, FilterAtom, FnArg, JpQuery, Literal, Segment, Selector, Test, TestFunction,
};
use regex::RegexBuilder;

/// The maximum size of a compiled pattern of `match` and `search`, in bytes: it is compiled for each element.
const PATTERN: usize = 64 << 10;

/// The number of patterns in `segments`.
pub(super) fn checked(segments: &[Segment]) -> Result<u64, String> {
    let mut patterns = Vec::new();
    segments.iter().for_each(|segment| of_segment(segment, &mut patterns));
    for pattern in &patterns {
        let literal = "the pattern of match() and search() must be a text, like match(@.name, 'web-.*')";
        check(pattern.ok_or(literal)?)?;
    }
    Ok(patterns.len() as u64)
}

/// Adds the patterns in `segment`: `None` for those that are not literal texts.
fn of_segment<'a>(segment: &'a Segment, patterns: &mut Vec<Option<&'a str>>) {
    let mut filters = |selector: &'a Selector| {
        if let Selector::Filter(filter) = selector {
            of_filter(filter, patterns);
        }
    };
    match segment {
        Segment::Descendant(segment) => of_segment(segment, patterns),
        Segment::Selector(selector) => filters(selector),
        Segment::Selectors(selectors) => selectors.iter().for_each(filters),
    }
}

fn of_filter<'a>(filter: &'a Filter, patterns: &mut Vec<Option<&'a str>>) {
    match filter {
        Filter::Or(filters) | Filter::And(filters) => filters.iter().for_each(|f| of_filter(f, patterns)),
        Filter::Atom(FilterAtom::Filter { expr, .. }) => of_filter(expr, patterns),
        Filter::Atom(FilterAtom::Test { expr, .. }) => of_test(expr, patterns),
        Filter::Atom(FilterAtom::Comparison(comparison)) => {
            let (left, right) = comparison.vals();
            for side in [left, right] {
                if let Comparable::Function(function) = side {
                    of_function(function, patterns);
                }
            }
        }
    }
}

fn of_test<'a>(test: &'a Test, patterns: &mut Vec<Option<&'a str>>) {
    match test {
        Test::RelQuery(segments) | Test::AbsQuery(JpQuery { segments }) => {
            segments.iter().for_each(|segment| of_segment(segment, patterns));
        }
        Test::Function(function) => of_function(function, patterns),
    }
}

fn of_function<'a>(function: &'a TestFunction, patterns: &mut Vec<Option<&'a str>>) {
    let mut inside = |arg: &'a FnArg| match arg {
        FnArg::Literal(_) => {}
        FnArg::Test(test) => of_test(test, patterns),
        FnArg::Filter(filter) => of_filter(filter, patterns),
    };
    match function {
        TestFunction::Custom(_, args) => args.iter().for_each(inside),
        TestFunction::Length(arg) => inside(arg),
        TestFunction::Value(arg) | TestFunction::Count(arg) => inside(arg),
        TestFunction::Search(text, pattern) | TestFunction::Match(text, pattern) => {
            inside(text);
            inside(pattern);
            patterns.push(if let FnArg::Literal(Literal::String(text)) = pattern { Some(text) } else { None });
        }
    }
}

/// Checks the size of a pattern, as the library compiles it: for it, `.` is no newline.
fn check(pattern: &str) -> Result<(), String> {
    let compiled =
        RegexBuilder::new(&format!("^(?:{})$", pattern.replace('.', r"[^\n\r]"))).size_limit(PATTERN).build();
    match compiled {
        Err(regex::Error::CompiledTooBig(_)) => {
            Err(format!("the pattern {pattern:?} is too large; use fewer repetitions and classes"))
        }
        // One that is no regular expression matches nothing.
        Ok(_) | Err(_) => Ok(()),
    }
}

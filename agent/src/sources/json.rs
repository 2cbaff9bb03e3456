//! A JSON file, with a JSON pointer (RFC 6901) to the value.

use serde_json::Value;

use super::error::SourceError;
use super::read::read;
use crate::config::JsonSource;
use crate::report::Entry;

pub(super) fn value(source: &JsonSource) -> Result<String, SourceError> {
    match at(source)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        other @ (Value::Null | Value::Array(_) | Value::Object(_)) => Err(wrong(source, &other, "a text or a number")),
    }
}

/// An array of objects, or one object for a single entry.
pub(super) fn entries(source: &JsonSource) -> Result<Vec<Entry>, SourceError> {
    match at(source)? {
        Value::Object(entry) => Ok(vec![entry]),
        Value::Array(list) => list
            .into_iter()
            .map(|element| match element {
                Value::Object(entry) => Ok(entry),
                other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                    Err(wrong(source, &other, "an object in each place of the list"))
                }
            })
            .collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            Err(wrong(source, &other, "a list of objects"))
        }
    }
}

fn at(source: &JsonSource) -> Result<Value, SourceError> {
    let text = read(&source.path)?;
    let mut document: Value = serde_json::from_str(&text)
        .map_err(|error| SourceError::NotJson { path: source.path.clone(), source: error })?;
    let found = document.pointer_mut(&source.pointer).map(Value::take);
    found.ok_or_else(|| SourceError::NothingThere { path: source.path.clone(), pointer: source.pointer.clone() })
}

fn wrong(source: &JsonSource, found: &Value, wanted: &'static str) -> SourceError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    SourceError::WrongType { path: source.path.clone(), pointer: source.pointer.clone(), found, wanted }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tempfile::NamedTempFile;

    use super::*;

    fn source(text: &str, pointer: &str) -> (NamedTempFile, JsonSource) {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let source = JsonSource { path: file.path().to_owned(), pointer: pointer.to_owned() };
        (file, source)
    }

    #[rstest]
    #[case(r#"{"build":{"version":"1.2"}}"#, "/build/version", "1.2")]
    #[case(r#"{"a/b":[7]}"#, "/a~1b/0", "7")]
    #[case(r#""1.0""#, "", "1.0")]
    #[case("\u{feff}{\"version\":\"1.3\"}", "/version", "1.3")]
    fn a_version_is_found(#[case] text: &str, #[case] pointer: &str, #[case] expected: &str) {
        let (_file, source) = source(text, pointer);
        assert_eq!(value(&source).unwrap(), expected);
    }

    #[rstest]
    #[case("{", "", "is not JSON")]
    #[case("{}", "/version", "has no value at \"/version\"")]
    #[case(r#"{"version":{}}"#, "/version", "has an object at \"/version\", but a text or a number is required")]
    fn errors_state_the_problem(#[case] text: &str, #[case] pointer: &str, #[case] expected: &str) {
        let (_file, source) = source(text, pointer);
        let error = value(&source).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[rstest]
    #[case(r#"{"p":[{"a":1},{"b":null}]}"#, "/p", r#"[{"a":1},{"b":null}]"#)]
    #[case(r#"{"a":"x"}"#, "", r#"[{"a":"x"}]"#)]
    #[case("[]", "", "[]")]
    fn entries_are_reported_unchanged(#[case] text: &str, #[case] pointer: &str, #[case] expected: &str) {
        let (_file, source) = source(text, pointer);
        assert_eq!(serde_json::to_string(&entries(&source).unwrap()).unwrap(), expected);
    }

    #[test]
    fn a_list_of_other_values_than_objects_is_rejected() {
        let (_file, source) = source(r#"{"p":["x"]}"#, "/p");
        let error = entries(&source).unwrap_err().to_string();
        assert!(error.contains("a text at \"/p\", but an object in each place of the list is required"), "{error}");
    }
}

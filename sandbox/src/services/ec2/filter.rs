//! `Filter.N`: names, values with wildcards.

use crate::error::ApiError;
use crate::protocol::params::{Scope, invalid};
use crate::state::ec2::tags::Tags;

const MAX_VALUES: usize = 200;

#[derive(Debug)]
pub(crate) struct Filters<'a>(Vec<Filter<'a>>);

#[derive(Debug)]
struct Filter<'a> {
    name: &'a str,
    values: Vec<&'a str>,
}

impl<'a> Filters<'a> {
    /// Reads the filters. `known` are the names that this operation takes, beside `tag:<key>`.
    pub(crate) fn read(root: &Scope<'a>, known: &[&str]) -> Result<Self, ApiError> {
        let mut filters = Vec::new();
        for scope in root.items("Filter") {
            let name = scope.required("Name")?;
            let values = scope.list("Value");
            if !known.contains(&name) && !name.starts_with("tag:") {
                return Err(invalid(format!("The filter '{name}' is invalid")));
            }
            if values.is_empty() {
                return Err(invalid(format!("The filter '{name}' has no values")));
            }
            if values.len() > MAX_VALUES {
                let message = format!("The maximum number of filter values specified on a single call is {MAX_VALUES}");
                return Err(ApiError::new("FilterLimitExceeded", message));
            }
            filters.push(Filter { name, values });
        }
        Ok(Self(filters))
    }

    /// Whether each filter has a value that one of the row's values matches.
    pub(crate) fn match_row(&self, row: impl Fn(&str) -> Vec<String>) -> bool {
        self.0.iter().all(|filter| {
            let actual = row(filter.name);
            filter.values.iter().any(|pattern| actual.iter().any(|value| wildcard(pattern, value)))
        })
    }
}

/// The row's side of `tag-key` and `tag:<key>`.
pub(crate) fn tag_values(tags: &Tags, filter: &str) -> Vec<String> {
    match filter.strip_prefix("tag:") {
        Some(key) => tags.get(key).cloned().into_iter().collect(),
        None if filter == "tag-key" => tags.keys().cloned().collect(),
        None => Vec::new(),
    }
}

/// `*` is any text, `?` any one character, a backslash takes the next character as it is.
fn wildcard(pattern: &str, text: &str) -> bool {
    #[derive(Clone, Copy)]
    enum Part {
        Any,
        One,
        Exactly(char),
    }
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::Exactly(chars.next().unwrap_or('\\')),
            other => Part::Exactly(other),
        });
    }
    let text: Vec<char> = text.chars().collect();
    // On a mismatch, go back to the last `*` and let it take one character more.
    let (mut part, mut at, mut star) = (0, 0, None);
    while at < text.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                star = Some((part, at));
                part += 1;
                continue;
            }
            Some(Part::One) => {
                (part, at) = (part + 1, at + 1);
                continue;
            }
            Some(Part::Exactly(c)) if *c == text[at] => {
                (part, at) = (part + 1, at + 1);
                continue;
            }
            Some(Part::Exactly(_)) | None => {}
        }
        match star {
            Some((star_part, star_at)) => {
                star = Some((star_part, star_at + 1));
                (part, at) = (star_part + 1, star_at + 1);
            }
            None => return false,
        }
    }
    parts[part..].iter().all(|part| matches!(part, Part::Any))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, matches) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("", "", true),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*c*f", "abcde", false),
            ("*EC2_BACKUP*", "nightly EC2_BACKUP 3", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("a\\?", "a?", true),
            ("**", "x", true),
            ("*a", "aaab", false),
        ] {
            assert_eq!(wildcard(pattern, text), matches, "{pattern} {text}");
        }
    }
}

//! Pages: `MaxResults` and `NextToken`.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::error::ApiError;
use crate::protocol::params::{Scope, invalid};
use crate::state::ec2::ids;

/// What a call without MaxResults gets at most. AWS asks callers to page and says that it may cut such answers.
const DEFAULT_SIZE: usize = 1000;

#[derive(Debug)]
pub(crate) struct Page {
    size: usize,
    after: Option<String>,
    pub(crate) max_given: bool,
}

impl Page {
    pub(crate) fn read(root: &Scope<'_>) -> Result<Self, ApiError> {
        Self::read_within(root, 5..=DEFAULT_SIZE)
    }

    /// For calls whose pages have other bounds.
    pub(crate) fn read_within(root: &Scope<'_>, sizes: RangeInclusive<usize>) -> Result<Self, ApiError> {
        let max = root.integer::<usize>("MaxResults")?;
        if let Some(max) = max {
            let (least, most) = (sizes.start(), sizes.end());
            if max < *least {
                return Err(invalid(format!(
                    "Value ( {max} ) for parameter maxResults is invalid. Expecting a value greater than {least}."
                )));
            }
            if max > *most {
                return Err(invalid(format!(
                    "Value ( {max} ) for parameter maxResults is invalid. Expecting a value less than or equal to {most}."
                )));
            }
        }
        let after = root.text("NextToken").filter(|token| !token.is_empty()).map(decode).transpose()?;
        Ok(Self { size: max.unwrap_or(*sizes.end()), after, max_given: max.is_some() })
    }

    /// Checks the instance ids that a call names. With them it cannot ask for pages.
    pub(crate) fn check_with(&self, ids: &[&str]) -> Result<(), ApiError> {
        if self.max_given && !ids.is_empty() {
            return Err(ApiError::new(
                "InvalidParameterCombination",
                "The parameter instancesSet cannot be used with the parameter maxResults",
            ));
        }
        ids.iter().try_for_each(|id| ids::check_instance_id(id))
    }

    /// Where rows are numbered: the number of the first row that this page may show.
    pub(crate) fn first_number(&self) -> u64 {
        self.after.as_deref().and_then(|after| after.parse::<u64>().ok()).map_or(0, |after| after.saturating_add(1))
    }

    /// Cuts this page out of all rows, which come in the order of their keys. Gives the next page's token too.
    pub(crate) fn cut<T>(&self, rows: impl Iterator<Item = (String, T)>) -> (Vec<T>, Option<String>) {
        let mut page = Vec::new();
        let mut last = None;
        for (key, row) in rows.filter(|(key, _)| self.after.as_ref().is_none_or(|after| key > after)) {
            if page.len() == self.size {
                return (page, last.as_deref().map(encode));
            }
            page.push(row);
            last = Some(key);
        }
        (page, None)
    }
}

/// The key of a numbered row: text in the order of the numbers.
pub(crate) fn number_key(number: u64) -> String {
    format!("{number:020}")
}

const PREFIX: &str = "after:";

fn encode(key: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{PREFIX}{key}"))
}

fn decode(token: &str) -> Result<String, ApiError> {
    BASE64_URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix(PREFIX).map(str::to_owned))
        .ok_or_else(|| invalid("Unable to parse pagination token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let rows = || (0..12).map(|n| (format!("{n:03}"), n));
        let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = Page { size: 5, after, max_given: true };
            let (cut, next) = page.cut(rows());
            seen.extend(cut);
            pages += 1;
            match next {
                Some(token) => after = Some(decode(&token).expect("our own token")),
                None => break,
            }
        }
        assert_eq!(seen, (0..12).collect::<Vec<_>>());
        assert_eq!(pages, 3);
    }

    #[test]
    fn a_full_last_page_has_no_successor() {
        let page = Page { size: 5, after: None, max_given: true };
        assert_eq!(page.cut((0..5).map(|n| (n.to_string(), n))).1, None);
    }

    #[test]
    fn no_token_is_too_large_to_count_on_from() {
        let page = Page { size: 5, after: Some(u64::MAX.to_string()), max_given: true };
        assert_eq!(page.first_number(), u64::MAX);
    }

    #[test]
    fn a_foreign_token_is_refused() {
        assert!(decode("nonsense").is_err());
    }
}

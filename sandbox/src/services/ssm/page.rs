//! Pages: `MaxResults` and `NextToken`.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::validation::constraint;
use crate::error::ApiError;

const PREFIX: &str = "after:";

/// Cuts a page out of rows that come in the order of their names, and gives the next page's token.
pub(super) fn cut<T>(
    rows: impl Iterator<Item = (String, T)>,
    max: Option<u32>,
    limits: (u32, u32),
    token: Option<&str>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let (default, most) = limits;
    let max = max.unwrap_or(default);
    if !(1..=most).contains(&max) {
        let bounds = format!("Member must have value less than or equal to {most}, and greater than or equal to 1");
        return Err(constraint(&max.to_string(), "maxResults", &bounds));
    }
    let after = token.filter(|token| !token.is_empty()).map(decode).transpose()?;
    let mut page = Vec::new();
    let mut last = None;
    for (name, row) in rows.filter(|(name, _)| after.as_ref().is_none_or(|after| name > after)) {
        if page.len() == max as usize {
            let next = last.map(|last: String| BASE64_URL_SAFE_NO_PAD.encode(format!("{PREFIX}{last}")));
            return Ok((page, next));
        }
        page.push(row);
        last = Some(name);
    }
    Ok((page, None))
}

fn decode(token: &str) -> Result<String, ApiError> {
    BASE64_URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix(PREFIX).map(str::to_owned))
        .ok_or_else(|| ApiError::new("InvalidNextToken", "The specified token isn't valid."))
}

//! Pages: `MaxRecords` and `NextToken`.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::call::invalid;
use crate::error::ApiError;
use crate::protocol::params::Scope;

const DEFAULT: usize = 50;
const MOST: usize = 100;

#[derive(Debug)]
pub(super) struct Page {
    size: usize,
    after: Option<String>,
}

impl Page {
    pub(super) fn read(root: &Scope<'_>) -> Result<Self, ApiError> {
        let size = root.integer::<usize>("MaxRecords")?.unwrap_or(DEFAULT);
        if !(1..=MOST).contains(&size) {
            return Err(invalid(format!(
                "1 validation error detected: Value '{size}' at 'maxRecords' failed to satisfy constraint: Member must \
                 have value between 1 and {MOST}"
            )));
        }
        Ok(Self { size, after: root.text("NextToken").filter(|token| !token.is_empty()).map(decode).transpose()? })
    }

    /// Cuts this page out of all rows, which come in the order of their keys. Gives the next page's token too.
    pub(super) fn cut<T>(&self, rows: impl Iterator<Item = (String, T)>) -> (Vec<T>, Option<String>) {
        let mut rows = rows.filter(|(key, _)| self.after.as_ref().is_none_or(|after| key > after)).peekable();
        let (mut page, mut last) = (Vec::new(), None);
        while let Some((key, row)) = rows.next_if(|_| page.len() < self.size) {
            page.push(row);
            last = Some(key);
        }
        (page, last.filter(|_| rows.peek().is_some()).map(|key| BASE64_URL_SAFE_NO_PAD.encode(key)))
    }
}

fn decode(token: &str) -> Result<String, ApiError> {
    let key = BASE64_URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| ApiError::new("InvalidNextToken", format!("The token '{token}' is invalid.")))
}

//! One page of ListObjectsV2 over ordered keys: prefix, delimiter, where to go on.

use std::collections::BTreeMap;
use std::ops::Bound;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// As many rows as one page may have.
pub(crate) const PAGE: usize = 1000;

#[derive(Debug, Clone, Default)]
pub(crate) struct ListRequest {
    pub prefix: String,
    pub delimiter: String,
    pub start_after: String,
    pub max_keys: usize,
    pub after: Option<Cursor>,
}

/// The last row of the page before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cursor {
    Key(String),
    CommonPrefix(String),
}

impl Cursor {
    /// The continuation token, which callers must treat as opaque.
    pub(crate) fn token(&self) -> String {
        let plain = match self {
            Self::Key(key) => format!("k{key}"),
            Self::CommonPrefix(prefix) => format!("p{prefix}"),
        };
        URL_SAFE_NO_PAD.encode(plain)
    }

    pub(crate) fn parse(token: &str) -> Option<Self> {
        let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        if let Some(key) = plain.strip_prefix('k') {
            return Some(Self::Key(key.to_owned()));
        }
        Some(Self::CommonPrefix(plain.strip_prefix('p')?.to_owned()))
    }
}

#[derive(Debug)]
pub(crate) struct Page<'a, T> {
    pub objects: Vec<(&'a str, &'a T)>,
    pub common_prefixes: Vec<String>,
    /// Present when there is more.
    pub next: Option<Cursor>,
}

impl<T> Page<'_, T> {
    pub(crate) fn rows(&self) -> usize {
        self.objects.len() + self.common_prefixes.len()
    }
}

/// Lists `objects` in the order of their keys' bytes. A common prefix counts as one row, whatever is below it.
pub(crate) fn list<'a, T>(objects: &'a BTreeMap<String, T>, request: &ListRequest) -> Page<'a, T> {
    let mut page = Page { objects: Vec::new(), common_prefixes: Vec::new(), next: None };
    let limit = request.max_keys.min(PAGE);
    if limit == 0 {
        return page;
    }
    let mut last: Option<Cursor> = None;
    let mut from = start(request);
    while let Some((key, value)) = objects.range::<String, _>((from.clone(), Bound::Unbounded)).next() {
        if !key.starts_with(&request.prefix) {
            break;
        }
        if page.rows() == limit {
            page.next = last;
            return page;
        }
        match common_prefix(key, request) {
            Some(prefix) => {
                from = Bound::Excluded(end_of(prefix));
                // With StartAfter inside a common prefix, what is left of it still shows as that prefix, as in S3.
                page.common_prefixes.push(prefix.to_owned());
                last = Some(Cursor::CommonPrefix(prefix.to_owned()));
            }
            None => {
                from = Bound::Excluded(key.clone());
                page.objects.push((key, value));
                last = Some(Cursor::Key(key.clone()));
            }
        }
    }
    page
}

fn start(request: &ListRequest) -> Bound<String> {
    let after = match &request.after {
        Some(Cursor::Key(key)) => key.clone(),
        Some(Cursor::CommonPrefix(prefix)) => end_of(prefix),
        None => request.start_after.clone(),
    };
    if after < request.prefix { Bound::Included(request.prefix.clone()) } else { Bound::Excluded(after) }
}

fn common_prefix<'k>(key: &'k str, request: &ListRequest) -> Option<&'k str> {
    if request.delimiter.is_empty() {
        return None;
    }
    let rest = &key[request.prefix.len()..];
    let at = rest.find(&request.delimiter)?;
    Some(&key[..request.prefix.len() + at + request.delimiter.len()])
}

/// Sorts after every key that starts with `prefix`: no key of S3 has the last code point there.
fn end_of(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> BTreeMap<String, ()> {
        names.iter().map(|name| ((*name).to_owned(), ())).collect()
    }

    fn request() -> ListRequest {
        ListRequest { max_keys: PAGE, ..ListRequest::default() }
    }

    fn names<'a>(page: &Page<'a, ()>) -> Vec<&'a str> {
        page.objects.iter().map(|(key, ())| *key).collect()
    }

    #[test]
    fn only_keys_under_the_prefix_are_listed() {
        let objects = keys(&["a", "p/1", "p/2", "q"]);
        let page = list(&objects, &ListRequest { prefix: "p/".into(), ..request() });
        assert_eq!(names(&page), ["p/1", "p/2"]);
        assert!(page.next.is_none());
    }

    #[test]
    fn a_delimiter_rolls_keys_up() {
        let objects = keys(&["a", "d/1", "d/2", "d/e/3", "f", "g/"]);
        let page = list(&objects, &ListRequest { delimiter: "/".into(), ..request() });
        assert_eq!(names(&page), ["a", "f"]);
        assert_eq!(page.common_prefixes, ["d/", "g/"]);
    }

    #[test]
    fn start_after_skips_what_is_before_it() {
        let objects = keys(&["a", "b", "c"]);
        let page = list(&objects, &ListRequest { start_after: "b".into(), ..request() });
        assert_eq!(names(&page), ["c"]);
    }

    #[test]
    fn no_rows_asked_means_none_and_no_more() {
        let objects = keys(&["a"]);
        let page = list(&objects, &ListRequest { max_keys: 0, ..request() });
        assert_eq!((page.rows(), page.next), (0, None));
    }

    #[test]
    fn a_page_holds_a_thousand_rows_at_most() {
        let objects: BTreeMap<String, ()> = (0..1001).map(|n| (format!("{n:05}"), ())).collect();
        let page = list(&objects, &ListRequest { max_keys: 5000, ..request() });
        assert_eq!((page.rows(), page.next), (1000, Some(Cursor::Key("00999".into()))));
    }

    #[test]
    fn the_last_full_page_says_that_it_is_the_last() {
        let objects = keys(&["a", "b"]);
        let page = list(&objects, &ListRequest { max_keys: 2, ..request() });
        assert_eq!((page.rows(), page.next), (2, None));
    }

    #[test]
    fn pages_of_every_size_give_each_row_once() {
        let objects = keys(&["a", "d/1", "d/2", "d/é", "d0", "e/x/1", "e/y", "f", "é/1"]);
        for delimiter in ["", "/"] {
            let whole = list(&objects, &ListRequest { delimiter: delimiter.into(), ..request() });
            for max_keys in 1..=9 {
                let mut request = ListRequest { delimiter: delimiter.into(), max_keys, ..request() };
                let (mut objects_seen, mut prefixes_seen) = (Vec::new(), Vec::new());
                loop {
                    let page = list(&objects, &request);
                    assert!(page.rows() <= max_keys);
                    objects_seen.extend(names(&page));
                    prefixes_seen.extend(page.common_prefixes);
                    let Some(next) = page.next else { break };
                    request.after = Some(Cursor::parse(&next.token()).unwrap());
                }
                assert_eq!(objects_seen, names(&whole));
                assert_eq!(prefixes_seen, whole.common_prefixes);
            }
        }
    }

    #[test]
    fn a_token_that_was_not_given_out_is_refused() {
        for token in ["", "!", "eA"] {
            assert_eq!(Cursor::parse(token), None, "{token}");
        }
    }
}

//! Files of `key = value` lines, found by a pattern. Each file is one entry.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::SourceError;
use super::limits::{LARGEST, MOST_FILES, MOST_MATCHES};
use super::read::read_found;
use crate::config::FilesSource;
use crate::report::Entry;

/// The value of the one key, from the first file (by name) that has it.
pub(super) fn value(source: &FilesSource) -> Result<String, SourceError> {
    let key = source.keys.first().cloned().unwrap_or_default();
    for path in find(source)? {
        let text = read_found(&path)?.unwrap_or_default();
        if let Some((_, value)) = pairs(&text).find(|(name, _)| *name == key) {
            return Ok(value.to_owned());
        }
    }
    Err(SourceError::NoKey { pattern: source.pattern.clone(), key })
}

/// An entry for each file, in the order of their names. With `keys`, only these, and no entry for a file without any.
pub(super) fn entries(source: &FilesSource) -> Result<Vec<Entry>, SourceError> {
    let (mut entries, mut size) = (Vec::new(), 0);
    for path in find(source)? {
        let text = read_found(&path)?.unwrap_or_default();
        let wanted = |name: &str| source.keys.is_empty() || source.keys.iter().any(|key| key == name);
        let entry: Entry = pairs(&text)
            .filter(|(name, _)| wanted(name))
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect();
        size += entry.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum::<usize>();
        if size as u64 > LARGEST {
            return Err(SourceError::TooMuch { pattern: source.pattern.clone() });
        }
        if !entry.is_empty() {
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn find(source: &FilesSource) -> Result<Vec<PathBuf>, SourceError> {
    // An unreadable folder is not an empty one: otherwise processes would be missing from the report without an error.
    let denied = |path: PathBuf, source| Err(SourceError::Read { path, source });
    let fixed = fixed_part(&source.pattern);
    if let Err(error) = std::fs::metadata(&fixed)
        && error.kind() == ErrorKind::PermissionDenied
    {
        return denied(fixed, error);
    }
    let mut paths = Vec::new();
    // The pattern was checked with the configuration.
    for (matches, found) in glob::glob(&source.pattern).into_iter().flatten().enumerate() {
        match found {
            Ok(path) if path.is_file() => paths.push(path),
            Ok(_folder) => {}
            Err(error) if error.error().kind() == ErrorKind::NotFound => {}
            Err(error) => return denied(error.path().to_owned(), error.into()),
        }
        if paths.len() > MOST_FILES || matches > MOST_MATCHES {
            return Err(SourceError::TooManyFiles { pattern: source.pattern.clone() });
        }
    }
    paths.sort();
    Ok(paths)
}

/// The part of the path before the first wildcard.
fn fixed_part(pattern: &str) -> PathBuf {
    let plain = |part: &std::path::Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    Path::new(pattern).components().take_while(plain).collect()
}

/// Lines like `key = value`, `key=value` or `export key="value"`. Other lines (comments, sections) are ignored.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        if line.starts_with(['#', ';', '[']) {
            return None;
        }
        let (name, value) = line.split_once('=')?;
        let name = name.trim();
        let name = name.strip_prefix("export ").map_or(name, str::trim);
        (!name.is_empty()).then(|| (name, unquoted(value.trim())))
    })
}

/// Removes quotes, and a comment after them. Without quotes, a `#` is part of the value.
fn unquoted(value: &str) -> &str {
    let inner = |quote| {
        let quoted = value.strip_prefix(quote)?;
        let commented = quoted.split_once(quote).filter(|(_, rest)| rest.trim_start().starts_with(['#', ';']));
        commented.map(|(inner, _)| inner).or_else(|| quoted.strip_suffix(quote))
    };
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn source(folder: &TempDir, pattern: &str, keys: &[&str]) -> FilesSource {
        FilesSource {
            pattern: folder.path().join(pattern).display().to_string(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        }
    }

    #[rstest]
    #[case("a = 1", &[("a", "1")])]
    #[case("a=1\nb = two words \n", &[("a", "1"), ("b", "two words")])]
    #[case("# a = 1\n; b = 2\n[section]\n\nc = 3", &[("c", "3")])]
    #[case("export A=\"x y\"\nB='z'\nC=\"", &[("A", "x y"), ("B", "z"), ("C", "\"")])]
    #[case("url = http://h/?a=b", &[("url", "http://h/?a=b")])]
    #[case("no value\n= no name", &[])]
    #[case("empty =\r\nnext = 1\r\n", &[("empty", ""), ("next", "1")])]
    #[case("a = \"1.0\" # why\nb = '#1' ; it's\nc = x # y", &[("a", "1.0"), ("b", "#1"), ("c", "x # y")])]
    fn lines_are_read(#[case] text: &str, #[case] expected: &[(&str, &str)]) {
        assert_eq!(pairs(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_file_is_an_entry_in_the_order_of_names() {
        let folder = folder(&[
            ("b.conf", "module_A_filename = a-2.bin\nmodule_B_filename = b-2.bin\n"),
            ("a.conf", "module_A_filename = a-1.bin\nother = x\n"),
            ("a.txt", "module_A_filename = not me\n"),
        ]);
        let entries = entries(&source(&folder, "*.conf", &[])).unwrap();
        assert_eq!(
            serde_json::to_string(&entries).unwrap(),
            r#"[{"module_A_filename":"a-1.bin","other":"x"},{"module_A_filename":"a-2.bin","module_B_filename":"b-2.bin"}]"#
        );
    }

    #[test]
    fn only_the_configured_keys_are_reported() {
        let folder = folder(&[("a.conf", "a = 1\nsecret = 2\n"), ("b.conf", "secret = 3\n")]);
        let entries = entries(&source(&folder, "*.conf", &["a"])).unwrap();
        assert_eq!(serde_json::to_string(&entries).unwrap(), r#"[{"a":"1"}]"#);
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_key() {
        let folder = folder(&[("a.conf", "\u{feff}version = 1.2\r\n")]);
        assert_eq!(value(&source(&folder, "*.conf", &["version"])).unwrap(), "1.2");
    }

    #[test]
    fn the_part_of_a_pattern_without_wildcards_is_found() {
        for (pattern, expected) in
            [("/a/b/*.conf", "/a/b"), ("/a/b.conf", "/a/b.conf"), ("/a?/b", "/"), ("/a/**/b", "/a")]
        {
            assert_eq!(fixed_part(pattern), Path::new(expected), "{pattern}");
        }
    }

    #[test]
    fn no_matching_file_means_no_process() {
        assert_eq!(entries(&source(&folder(&[]), "*.conf", &[])).unwrap().len(), 0);
    }

    #[test]
    fn a_version_is_the_value_of_its_key() {
        let folder = folder(&[("a.conf", "x = 1"), ("b.conf", "version = 1.2"), ("c.conf", "version = 9")]);
        assert_eq!(value(&source(&folder, "*.conf", &["version"])).unwrap(), "1.2");
        let error = value(&source(&folder, "a.*", &["version"])).unwrap_err().to_string();
        assert!(error.ends_with("has the key version"), "{error}");
    }

    #[test]
    fn many_large_files_are_rejected_before_all_are_in_memory() {
        let line = format!("a = {}\n", "x".repeat(700_000));
        let folder = folder(&[("a.conf", &line), ("b.conf", &line), ("c.conf", &line)]);
        let error = entries(&source(&folder, "*.conf", &[])).unwrap_err();
        assert!(matches!(error, SourceError::TooMuch { .. }), "{error}");
    }

    #[test]
    fn a_pattern_with_many_matches_that_are_no_files_is_rejected() {
        let folder = folder(&[]);
        (0..=MOST_MATCHES + 1).for_each(|n| std::fs::create_dir(folder.path().join(n.to_string())).unwrap());
        let error = entries(&source(&folder, "*", &[])).unwrap_err();
        assert!(matches!(error, SourceError::TooManyFiles { .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_too_large_is_rejected() {
        let folder = folder(&[("a.conf", &"x".repeat(1024 * 1024 + 1))]);
        let error = entries(&source(&folder, "*.conf", &[])).unwrap_err();
        assert!(matches!(error, SourceError::TooLarge { .. }), "{error}");
    }
}

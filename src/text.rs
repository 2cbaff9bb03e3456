//! Text that somebody else wrote (workers, users of S3, tags, AWS) as muster shows it: in one line, with every invisible
//! character escaped, and cut.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

const MORE: &str = "...";

/// Control and format characters (escape sequences, line breaks, direction marks, zero-width characters), characters
/// without an assigned meaning, and the others that Unicode says to display as nothing.
static INVISIBLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]").expect("a valid regular expression")
});

/// `text` in one line, in which invisible characters are written as in Rust: `\n`, `\u{202e}`. Backslashes stay as they
/// are, so text that is escaped already does not change.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|character| push_escaped(&mut shown, character));
    shown.into()
}

/// `text`, escaped and in at most `limit` bytes. What is cut ends in `...`.
pub fn visible(text: &str, limit: usize) -> String {
    let room = limit.saturating_sub(MORE.len());
    let mut shown = String::new();
    let mut whole = 0;
    for character in text.chars() {
        push_escaped(&mut shown, character);
        if shown.len() <= room {
            whole = shown.len();
        } else if shown.len() > limit {
            shown.truncate(whole);
            shown.push_str(MORE);
            break;
        }
    }
    shown
}

fn push_escaped(shown: &mut String, character: char) {
    let is_invisible = match character.is_ascii() {
        true => character.is_ascii_control(),
        false => INVISIBLE.is_match(character.encode_utf8(&mut [0; 4])),
    };
    if is_invisible {
        shown.extend(character.escape_default());
    } else {
        shown.push(character);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn invisible_characters_are_escaped_and_others_are_not() {
        for (text, shown) in [
            ("", ""),
            ("app 1.2.3, \"quoted\" at C:\\temp", "app 1.2.3, \"quoted\" at C:\\temp"),
            ("größer, 日本語\u{3000}ば\u{3099}, ไทย, 🙂", "größer, 日本語\u{3000}ば\u{3099}, ไทย, 🙂"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", r"\u{1b}[2J\u{1b}]0;title\u{7}"),
            ("one\r\ntwo\tthree\0", r"one\r\ntwo\tthree\u{0}"),
            ("C1: \u{9b}31m \u{85}\u{7f}", r"C1: \u{9b}31m \u{85}\u{7f}"),
            ("lines\u{2028}and\u{2029}", r"lines\u{2028}and\u{2029}"),
            ("directions \u{202e}\u{2066}\u{200f}\u{61c}", r"directions \u{202e}\u{2066}\u{200f}\u{61c}"),
            ("nothing \u{200b}\u{200d}\u{feff}\u{ad}\u{fe0f}", r"nothing \u{200b}\u{200d}\u{feff}\u{ad}\u{fe0f}"),
            ("tags \u{e0041}, fillers \u{3164}\u{115f}", r"tags \u{e0041}, fillers \u{3164}\u{115f}"),
            ("unassigned \u{378}, private \u{e000}", r"unassigned \u{378}, private \u{e000}"),
        ] {
            assert_eq!(visible(text, 200), shown, "{text:?}");
            assert_eq!(escaped(text), shown, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_between_escapes() {
        for (text, limit, shown) in [
            ("123456", 6, "123456"),
            ("1234567", 6, "123..."),
            ("äöüä", 6, "ä..."),
            ("1\u{202e}2", 10, r"1\u{202e}2"),
            ("1\u{202e}23", 10, "1..."),
        ] {
            assert_eq!(visible(text, limit), shown, "{text:?}");
        }
        assert_eq!(visible(&"x".repeat(1 << 20), 100).len(), 100);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_short_and_stays_as_it_is(text in any::<String>(), limit in 3usize..40) {
            let shown = visible(&text, limit);
            prop_assert!(shown.len() <= limit);
            prop_assert!(!shown.contains(char::is_control));
            prop_assert_eq!(visible(&shown, limit), shown);
            let whole = escaped(&text);
            prop_assert_eq!(escaped(&whole), whole.as_ref());
        }
    }
}

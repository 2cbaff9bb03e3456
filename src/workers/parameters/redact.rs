//! Takes the values that are known out of a text that somebody else wrote.

use crate::aws::ssm::ParameterValue;

const MASK: &str = "[redacted]";
/// Shorter texts that are not secret are in others by chance.
const TELLING_LENGTH: usize = 4;

/// A value that was given to workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub value: ParameterValue,
    pub secret: bool,
}

/// `text` without any of the values, whole, by line, or as JSON writes them.
pub(super) fn redact(text: &str, given: &[Given]) -> String {
    let mut forms: Vec<String> = given.iter().flat_map(forms).collect();
    // What is part of a longer one goes after it, or the rest of that would stay.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms.iter().fold(text.to_owned(), |text, form| text.replace(form.as_str(), MASK))
}

fn forms(given: &Given) -> Vec<String> {
    let value = given.value.expose();
    let shortest = if given.secret { 1 } else { TELLING_LENGTH };
    let json = serde_json::to_string(value).unwrap_or_default();
    let json = json.trim_matches('"').to_owned();
    let lines = value.lines().map(|line| line.trim().to_owned()).filter(|line| line.len() >= TELLING_LENGTH);
    let whole = [value.to_owned(), value.trim().to_owned(), json].into_iter().filter(|form| form.len() >= shortest);
    whole.chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(value: &str, secret: bool) -> Given {
        Given { value: ParameterValue::new(value), secret }
    }

    #[test]
    fn no_form_of_a_value_is_left() {
        for (case, values, text, left) in [
            ("plain", vec![given("hunter2", true)], "pw=hunter2!", "pw=[redacted]!"),
            ("one inside another", vec![given("ab", true), given("abcd", true)], "abcd ab", "[redacted] [redacted]"),
            ("several lines", vec![given("-----BEGIN\nMIIE\n", true)], "x MIIE\r\ny", "x [redacted]\r\ny"),
            ("as JSON", vec![given("a\"b", true)], r#"{"p":"a\"b"}"#, r#"{"p":"[redacted]"}"#),
            ("short and secret", vec![given("7", true)], "pin 7", "pin [redacted]"),
            ("short and not secret", vec![given("4", false)], "exit 4", "exit 4"),
            ("empty", vec![given("", true)], "nothing", "nothing"),
        ] {
            assert_eq!(redact(text, &values), left, "{case}");
        }
    }
}

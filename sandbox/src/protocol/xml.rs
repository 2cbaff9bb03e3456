//! A writer of XML answers.

use std::fmt::Display;

use jiff::Timestamp;

#[derive(Debug, Default)]
pub(crate) struct Xml {
    text: String,
}

impl Xml {
    pub(crate) fn document() -> Self {
        Self { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned() }
    }

    pub(crate) fn into_string(self) -> String {
        self.text
    }

    pub(crate) fn append(&mut self, other: &Xml) {
        self.text.push_str(&other.text);
    }

    /// `<name attribute>...</name>`
    pub(crate) fn element_with(&mut self, name: &str, attribute: &str, content: impl FnOnce(&mut Xml)) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push(' ');
        self.text.push_str(attribute);
        self.text.push('>');
        content(self);
        self.close(name);
    }

    pub(crate) fn element(&mut self, name: &str, content: impl FnOnce(&mut Xml)) {
        self.open(name);
        content(self);
        self.close(name);
    }

    pub(crate) fn text(&mut self, name: &str, value: impl Display) {
        self.open(name);
        escape(&value.to_string(), &mut self.text);
        self.close(name);
    }

    /// Nothing at all for `None`.
    pub(crate) fn option(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    pub(crate) fn time(&mut self, name: &str, value: Timestamp) {
        self.text(name, iso(value));
    }

    /// `<name><item>...</item><item>...</item></name>`
    pub(crate) fn list<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, item: impl Fn(&mut Xml, T)) {
        self.element(name, |xml| {
            for one in items {
                xml.element("item", |xml| item(xml, one));
            }
        });
    }

    /// `<name><member>...</member><member>...</member></name>`
    pub(crate) fn members<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, member: impl Fn(&mut Xml, T)) {
        self.element(name, |xml| {
            for one in items {
                xml.element("member", |xml| member(xml, one));
            }
        });
    }

    /// `<name><member>a</member><member>b</member></name>`
    pub(crate) fn texts<T: Display>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        self.element(name, |xml| values.into_iter().for_each(|value| xml.text("member", value)));
    }

    fn open(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
    }

    fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }
}

/// `2026-01-31T23:59:59.000Z`
pub(crate) fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            // A parser would read a bare carriage return as a line feed.
            '\r' => into.push_str("&#13;"),
            other if is_allowed(other) => into.push(other),
            // One of these and no parser reads any of the answer.
            _ => into.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

/// Whether XML can carry the character at all, escaped or not.
pub(crate) fn is_allowed(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_missing_ones_left_out() {
        let mut xml = Xml::default();
        xml.element("a", |xml| {
            xml.text("b", "1 < 2 & \"3\"\r");
            xml.option("c", None::<&str>);
            xml.list("set", [1, 2], |xml, n| xml.text("n", n));
        });
        assert_eq!(
            xml.into_string(),
            "<a><b>1 &lt; 2 &amp; &quot;3&quot;&#13;</b><set><item><n>1</n></item><item><n>2</n></item></set></a>"
        );
    }

    #[test]
    fn what_xml_cannot_carry_is_replaced() {
        let mut xml = Xml::default();
        xml.text("a", "x\u{0}\u{b}\t\n\u{1f}\u{ffff}y😀");
        assert_eq!(xml.into_string(), "<a>x\u{fffd}\u{fffd}\t\n\u{fffd}\u{fffd}y😀</a>");
    }

    #[test]
    fn times_have_milliseconds() {
        let time: Timestamp = "2026-01-31T23:59:59.0126Z".parse().expect("a time");
        assert_eq!(iso(time), "2026-01-31T23:59:59.012Z");
    }
}

//! The body of a response. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    inventory::published::{Findings, Row, State},
    kinds::fleet_report::api::query::Shape,
};

/// The least size of a piece of a body, so that many small reports are few writes.
const PIECE: usize = 64 << 10;

/// The body in pieces.
pub(super) fn body(findings: &Findings, rows: &[(usize, State)], shape: Shape, now: Timestamp) -> Vec<Bytes> {
    let row = |place: &usize| &findings.rows[*place];
    let mut pieces = Pieces::default();
    match shape {
        Shape::Array => {
            pieces.text("[");
            for (number, (place, _)) in rows.iter().enumerate() {
                pieces.text(if number == 0 { "\n" } else { ",\n" });
                pieces.bytes(&row(place).body);
            }
            pieces.text("\n]\n");
        }
        Shape::Lines => {
            for (place, _) in rows {
                pieces.line(&row(place).body);
            }
        }
        Shape::Envelope => {
            let age = now.duration_since(findings.collected_at).as_secs().max(0);
            let head = json!({
                "collectedAt": findings.collected_at.to_string(),
                "ageSeconds": age,
                "failedSources": findings.degraded,
                "total": rows.len(),
            });
            pieces.text(open(&head.to_string()));
            pieces.text(",\"instances\":[");
            for (number, (place, state)) in rows.iter().enumerate() {
                let row = row(place);
                let known = known(findings, row, *state).to_string();
                pieces.text(if number == 0 { "\n" } else { ",\n" });
                if row.body.is_empty() {
                    pieces.text(&known);
                } else {
                    pieces.text(open(&known));
                    pieces.text(",\"report\":");
                    pieces.bytes(&row.body);
                    pieces.text("}");
                }
            }
            pieces.text("\n]}\n");
        }
        Shape::Table => {
            let named = findings.columns.iter().map(String::as_str);
            pieces.text(&csv(["instance", "state", "reportedAt", "source"].into_iter().chain(named)));
            for (place, state) in rows {
                let row = row(place);
                let at = row.at.map(|at| at.to_string()).unwrap_or_default();
                let values = (0..findings.columns.len()).map(|column| {
                    let of = row.values.iter().filter(|(of, _)| usize::from(*of) == column);
                    of.map(|(_, text)| &**text).collect::<Vec<_>>().join(" ")
                });
                let values: Vec<_> = values.collect();
                let cells = [&*row.instance, state.as_str(), &at, &row.source].into_iter();
                pieces.text(&csv(cells.chain(values.iter().map(String::as_str))));
            }
        }
    }
    pieces.done()
}

/// An object without its last brace.
fn open(object: &str) -> &str {
    object.strip_suffix('}').unwrap_or(object)
}

/// How often each value occurs in current reports.
pub(super) fn versions(findings: &Findings, now: Timestamp) -> Value {
    let mut counts: BTreeMap<&str, usize> = State::ALL.into_iter().map(|state| (state.as_str(), 0)).collect();
    let mut fields: Vec<BTreeMap<&str, (usize, usize)>> = vec![BTreeMap::new(); findings.fields];
    for row in &findings.rows {
        let state = findings.state(row, now);
        *counts.entry(state.as_str()).or_default() += 1;
        if !state.is_current() {
            continue;
        }
        for (column, text) in row.values.iter() {
            let Some(values) = fields.get_mut(usize::from(*column)) else { continue };
            let (count, behind) = values.entry(text).or_default();
            *count += 1;
            *behind += usize::from(state == State::Behind);
        }
    }
    let fields: Vec<_> = fields
        .into_iter()
        .zip(&findings.columns)
        .map(|(values, name)| {
            let mut values: Vec<_> = values.into_iter().collect();
            values.sort_by(|(a, (n, _)), (b, (m, _))| m.cmp(n).then(a.cmp(b)));
            let values: Vec<_> = values
                .into_iter()
                .map(|(value, (count, behind))| json!({"value": value, "count": count, "behind": behind}))
                .collect();
            json!({"name": name, "values": values})
        })
        .collect();
    json!({
        "collectedAt": findings.collected_at.to_string(),
        "ageSeconds": now.duration_since(findings.collected_at).as_secs().max(0),
        "failedSources": findings.degraded,
        "instances": counts,
        "fields": fields,
    })
}

/// What is known of an instance beside its report.
fn known(findings: &Findings, row: &Row, state: State) -> Value {
    let mut values: Vec<BTreeMap<&str, Vec<&str>>> = vec![BTreeMap::new(), BTreeMap::new()];
    for (column, text) in row.values.iter() {
        let column = usize::from(*column);
        let Some(name) = findings.columns.get(column) else { continue };
        values[usize::from(column >= findings.fields)].entry(name).or_default().push(text);
    }
    json!({
        "instance": row.instance,
        "state": state.as_str(),
        "reportedAt": row.at.map(|at| at.to_string()),
        "source": Some(&*row.source).filter(|source| !source.is_empty()),
        "fields": values[0],
        "groups": values[1],
    })
}

/// A line of a table. Programs for tables take a text that begins like this for a formula, and a worker wrote it.
fn csv<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for (number, cell) in cells.enumerate() {
        if number > 0 {
            line.push(',');
        }
        let mark = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        if cell.contains([',', '"', '\n', '\r']) || !mark.is_empty() {
            let _ = write!(line, "\"{mark}{}\"", cell.replace('"', "\"\""));
        } else {
            line.push_str(cell);
        }
    }
    line.push_str("\r\n");
    line
}

#[derive(Default)]
struct Pieces {
    done: Vec<Bytes>,
    open: BytesMut,
}

impl Pieces {
    fn text(&mut self, text: &str) {
        self.open.put_slice(text.as_bytes());
        self.cut();
    }

    /// A large report is not copied.
    fn bytes(&mut self, bytes: &Bytes) {
        if bytes.len() < PIECE {
            self.open.put_slice(bytes);
            return self.cut();
        }
        self.done.push(self.open.split().freeze());
        self.done.push(bytes.clone());
    }

    /// JSON has line feeds only between its parts, where a blank means the same.
    fn line(&mut self, bytes: &Bytes) {
        let one = bytes.trim_ascii().iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte });
        self.open.extend(one);
        self.text("\n");
    }

    fn cut(&mut self) {
        if self.open.len() >= PIECE {
            self.done.push(self.open.split().freeze());
        }
    }

    fn done(mut self) -> Vec<Bytes> {
        self.done.push(self.open.freeze());
        self.done.retain(|piece| !piece.is_empty());
        self.done
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn findings(bodies: &[&str], values: &[&str]) -> Findings {
        let rows = bodies.iter().zip(values).enumerate().map(|(n, (body, value))| Row {
            instance: format!("i-{n}").into(),
            state: State::Fresh,
            at: Some(Timestamp::UNIX_EPOCH),
            source: "prod".into(),
            values: [(0, (*value).into())].into(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            tag: 0,
        });
        Findings {
            stale_after: SignedDuration::from_hours(1),
            columns: vec!["app".into()],
            fields: 1,
            rows: rows.collect(),
            ..Findings::default()
        }
    }

    fn text(findings: &Findings, shape: Shape) -> String {
        let rows: Vec<_> = (0..findings.rows.len()).map(|n| (n, State::Fresh)).collect();
        let pieces = body(findings, &rows, shape, Timestamp::UNIX_EPOCH);
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[test]
    fn what_a_worker_wrote_is_no_formula_and_ends_no_cell() {
        let values = ["=HYPERLINK(\"http://x\")", "a,b", "two\nlines", "say \"hi\"", "-1", "1.2.3"];
        let table = text(&findings(&["{}"; 6], &values), Shape::Table);
        let cells = [
            "\"'=HYPERLINK(\"\"http://x\"\")\"",
            "\"a,b\"",
            "\"two\nlines\"",
            "\"say \"\"hi\"\"\"",
            "\"'-1\"",
            "1.2.3",
        ];
        let rows = cells.iter().enumerate();
        let rows = rows.map(|(n, cell)| format!("i-{n},fresh,1970-01-01T00:00:00Z,prod,{cell}\r\n"));
        assert_eq!(table, format!("instance,state,reportedAt,source,app\r\n{}", rows.collect::<String>()));
    }

    #[test]
    fn a_report_of_several_lines_is_one_line() {
        let lines = text(&findings(&["{\r\n \"a\": \"b\\n\"\n}\n", "{}"], &["x", "y"]), Shape::Lines);
        let parsed: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(parsed, [json!({"a": "b\n"}), json!({})]);
    }

    #[test]
    fn large_reports_are_whole() {
        let large = format!("{{\"a\": \"{}\"}}", "x".repeat(3 * PIECE));
        let bodies = ["{\"first\": 1}", &large, "{\"last\": 1}"];
        assert_eq!(text(&findings(&bodies, &["x"; 3]), Shape::Array), format!("[\n{}\n]\n", bodies.join(",\n")));
        let envelope: Value = serde_json::from_str(&text(&findings(&bodies, &["x"; 3]), Shape::Envelope)).unwrap();
        assert_eq!(envelope["instances"][1]["report"]["a"].as_str().map(str::len), Some(3 * PIECE));
        assert_eq!(envelope["instances"][2]["fields"], json!({"app": ["x"]}));
    }

    #[test]
    fn nothing_is_an_empty_array() {
        let none: Vec<Value> = serde_json::from_str(&text(&findings(&[], &[]), Shape::Array)).unwrap();
        assert!(none.is_empty());
    }
}

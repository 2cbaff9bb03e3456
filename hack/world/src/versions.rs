//! The versions in the status of a FleetReport.

use serde_json::Value;

/// How many fresh reports have `value` in `field`.
pub(crate) fn count(status: &Value, field: &str, value: &str) -> i64 {
    let versions = status["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    versions
        .iter()
        .find(|version| version["field"] == field && version["value"] == value)
        .and_then(|version| version["count"].as_i64())
        .unwrap_or_default()
}

pub(crate) fn version_table(status: &Value) -> String {
    let mut rows = vec![["FIELD".to_owned(), "VERSION".to_owned(), "WORKERS".to_owned()]];
    for version in status["versions"].as_array().into_iter().flatten() {
        let text = |name: &str| version[name].as_str().unwrap_or_default().to_owned();
        rows.push([text("field"), text("value"), version["count"].to_string()]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let (first, second) = (width(0), width(1));
    rows.iter().map(|[field, value, count]| format!("    {field:first$}   {value:second$}   {count}\n")).collect()
}

//! What a caller asks for. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::inventory::published::{Findings, Row, State};

/// The parameters of a request, as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// Only instances with a value of this field. The name of one of `spec.fields`.
    #[param(max_length = 63)]
    field: Option<String>,
    /// Only instances whose field has this value. It needs `field`.
    #[param(max_length = 1024)]
    value: Option<String>,
    /// Only instances of this group, as `<name of the groupBy>:<group>`.
    #[param(max_length = 1024)]
    group: Option<String>,
    /// States, separated by commas: `fresh`, `behind`, `stale`, `missing`, `ghost`, or `all`. Default: `fresh,behind`. The
    /// plain array and NDJSON have only these two.
    #[param(max_length = 64)]
    state: Option<String>,
    /// The format. Default: `json`.
    #[serde(default)]
    #[param(inline)]
    format: Format,
    /// With `true`, JSON is an object with the time of the collection, and each report with what is known of its
    /// instance.
    #[serde(default)]
    envelope: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// The reports as a JSON array, byte for byte as they are in S3.
    #[default]
    Json,
    /// One report a line.
    Ndjson,
    /// A table.
    Csv,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    column: Option<u16>,
    value: Option<String>,
    group: Option<(u16, String)>,
    states: BTreeSet<State>,
    pub(super) shape: Shape,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Array,
    Envelope,
    Lines,
    Table,
}

impl Parameters {
    /// # Errors
    /// What is wrong, and what to write.
    pub(super) fn query(&self, findings: &Findings) -> Result<Query, String> {
        let Self { field, value, group, state, format, envelope } = self;
        let (fields, groups) = findings.columns.split_at(findings.fields);
        let position = |names: &[String], name: &str, what: &str| {
            let found = names.iter().position(|known| known == name);
            let all =
                || if names.is_empty() { "it has none".to_owned() } else { format!("use one of {}", names.join(", ")) };
            found.ok_or_else(|| format!("the FleetReport has no {what} of this name: {}", all()))
        };
        let column = field.as_deref().map(|name| position(fields, name, "field")).transpose()?;
        if value.is_some() && column.is_none() {
            return Err("value needs field, like field=app&value=1.2.3".into());
        }
        let group = match group.as_deref().map(|text| text.split_once(':')) {
            None => None,
            Some(None) => return Err("group is <name of the groupBy>:<group>, like service:web".into()),
            Some(Some((name, group))) => {
                let column = findings.fields + position(groups, name, "groupBy")?;
                Some((u16::try_from(column).unwrap_or(u16::MAX), group.to_owned()))
            }
        };
        let shape = match (format, envelope) {
            (Format::Json, false) => Shape::Array,
            (Format::Json, true) => Shape::Envelope,
            (Format::Ndjson, false) => Shape::Lines,
            (Format::Csv, false) => Shape::Table,
            (Format::Ndjson | Format::Csv, true) => return Err("envelope needs format=json".into()),
        };
        let states = states(state.as_deref())?;
        if matches!(shape, Shape::Array | Shape::Lines) && !states.iter().all(|state| state.is_current()) {
            return Err(
                "an array of reports has only those that are fresh or behind: for other states use envelope=true or \
                        format=csv"
                    .into(),
            );
        }
        let column = column.map(|column| u16::try_from(column).unwrap_or(u16::MAX));
        Ok(Query { column, value: value.clone(), group, states, shape })
    }
}

fn states(text: Option<&str>) -> Result<BTreeSet<State>, String> {
    let named = |name: &str| match name {
        "all" => Ok(State::ALL.to_vec()),
        name => State::ALL.into_iter().find(|state| state.as_str() == name).map(|state| vec![state]).ok_or_else(|| {
            "state is fresh, behind, stale, missing, ghost or all, or several, separated by commas".to_owned()
        }),
    };
    let parts = text.unwrap_or("fresh,behind").split(',').map(str::trim);
    let found: Result<Vec<_>, _> = parts.map(named).collect();
    Ok(found?.into_iter().flatten().collect())
}

impl Query {
    /// The rows to show, each with its state at `now`.
    pub(super) fn select(&self, findings: &Findings, now: Timestamp) -> Vec<(usize, State)> {
        let rows = findings.rows.iter().enumerate().map(|(place, row)| (place, row, findings.state(row, now)));
        let shown = rows.filter(|(_, row, state)| self.states.contains(state) && self.is_met_by(row));
        shown.map(|(place, _, state)| (place, state)).collect()
    }

    fn is_met_by(&self, row: &Row) -> bool {
        let has = |column: u16, value: Option<&str>| {
            let mut values = row.values.iter().filter(|(of, _)| *of == column).map(|(_, text)| &**text).peekable();
            match value {
                // Reports without a group are in the group without a name.
                Some("") => values.peek().is_none(),
                Some(value) => values.any(|text| text == value),
                None => values.peek().is_some(),
            }
        };
        self.column.is_none_or(|column| has(column, self.value.as_deref()))
            && self.group.as_ref().is_none_or(|(column, group)| has(*column, Some(group)))
    }
}

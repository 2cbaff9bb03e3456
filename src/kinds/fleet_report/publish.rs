//! The result of a FleetReport instance by instance, for the API. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    inventory::published::{Findings, Row, State, Values},
    kinds::fleet_report::{
        aggregate::{Newest, Summary},
        desired::Desired,
        view::{Shape, View},
    },
};

/// What was found, collected `at`, without the sources that `failed`.
pub(super) fn publish(
    desired: &Desired,
    view: &View,
    (newest, summary): (&HashMap<&str, Newest<'_>>, &Summary),
    (at, failed): (Timestamp, Vec<String>),
) -> Findings {
    let Summary { ghosts, missing, .. } = summary;
    let mut sources: BTreeMap<&str, Arc<str>> = BTreeMap::new();
    let mut shapes: HashMap<Shape, Values> = HashMap::new();
    let mut rows: Vec<Row> = Vec::with_capacity(newest.len() + missing.len());
    for (instance, Newest { time, shape, source, entry }) in newest {
        let Some(body) = entry.body() else { continue };
        let state = match summary.reporting.get(*instance) {
            Some(reported) if reported.is_behind => State::Behind,
            Some(_) => State::Fresh,
            None if ghosts.contains(*instance) => State::Ghost,
            None if missing.contains(*instance) => State::Missing,
            None => State::Stale,
        };
        rows.push(Row {
            instance: (*instance).into(),
            state,
            at: Some(*time),
            source: sources.entry(source).or_insert_with(|| (*source).into()).clone(),
            values: shapes.entry(*shape).or_insert_with(|| view.values(*shape).into()).clone(),
            body,
            tag: entry.tag(),
        });
    }
    let silent = missing.iter().filter(|instance| !newest.contains_key(&***instance));
    rows.extend(silent.map(|instance| Row {
        instance: instance.clone(),
        state: State::Missing,
        at: None,
        source: "".into(),
        values: [].into(),
        body: Default::default(),
        tag: 0,
    }));
    rows.sort_unstable_by(|a, b| a.instance.cmp(&b.instance));
    Findings {
        collected_at: at,
        stale_after: SignedDuration::try_from(desired.stale_after).unwrap_or(SignedDuration::MAX),
        degraded: failed,
        columns: desired.reading.columns.iter().map(|column| column.name.clone()).collect(),
        fields: desired.reading.fields().len(),
        keys: desired.keys.clone(),
        rows,
    }
}

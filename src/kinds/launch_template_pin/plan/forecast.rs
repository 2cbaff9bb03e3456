//! What would be done from now on, one call after the other, if AWS did what it is asked for. Pure.

use std::collections::BTreeSet;

use crate::{
    aws::{
        autoscaling::{RefreshRow, RefreshState},
        ec2::template_versions::VersionRow,
    },
    crd::launch_template_pin::LaunchTemplatePinStatus,
    kinds::launch_template_pin::{
        desired::Desired,
        observed::{Observed, marker},
        plan::{Assessment, Call, PlanContext, calls, settle::started},
    },
    tags::OWNER_UID_TAG,
};

/// More calls than this are not listed.
const MOST: usize = 100;

pub(in super::super) fn forecast(
    desired: &Desired,
    observed: &Observed,
    record: &LaunchTemplatePinStatus,
    context: &mut PlanContext<'_>,
) -> Vec<Call> {
    let (mut observed, mut record) = (observed.clone(), record.clone());
    record.intents.clear();
    // Nobody knows yet who will use the versions then.
    observed.running.get_or_insert_with(BTreeSet::new);
    observed.of_fleets.get_or_insert_with(BTreeSet::new);
    for group in observed.groups.values_mut() {
        group.refreshes.get_or_insert_default();
    }
    let mut all: Vec<Call> = Vec::new();
    while all.len() < MOST {
        let found = Assessment::of(desired, &observed, &record, context);
        let next = calls(desired, &observed, &record, &found, context);
        if next.is_empty() {
            break;
        }
        for call in next {
            happen(&call, &mut observed, &mut record, context);
            all.push(call);
        }
    }
    all
}

/// AWS after `call`.
fn happen(call: &Call, observed: &mut Observed, record: &mut LaunchTemplatePinStatus, context: &PlanContext<'_>) {
    let template = &mut observed.template;
    match call {
        Call::Claim => {
            template.tags.insert(OWNER_UID_TAG.into(), context.uid.to_string());
        }
        Call::CreateVersion { image, .. } => {
            template.latest += 1;
            let row = VersionRow {
                version: template.latest,
                description: marker(context.uid),
                image: Some(image.to_string()),
                created_at: Some(context.now),
            };
            observed.versions.insert(0, row);
        }
        Call::SetDefault(version) => {
            record.previous_version = Some(template.default);
            template.default = *version;
        }
        Call::DeleteVersions(versions) => observed.versions.retain(|row| !versions.contains(&row.version)),
        Call::UpdateGroup { group, follow, .. } => set(observed, group, follow),
        Call::StartRefresh { group, version, pins, .. } => {
            if *pins {
                set(observed, group, &version.to_string());
            }
            let id = observed.template.id.clone();
            if let Some(group) = observed.groups.get_mut(group) {
                for member in &mut group.row.instances {
                    member.template = Some((id.clone(), *version));
                }
                let row = RefreshRow {
                    id: format!("refresh-{version}"),
                    status: "Successful".into(),
                    state: RefreshState::Successful,
                    reason: None,
                    percent: Some(100),
                    started_at: Some(context.now),
                    desired: vec![],
                };
                started(record, &group.row.name, &row.id, Some(*version));
                group.refreshes.get_or_insert_default().insert(0, row);
            }
        }
        Call::CancelRefresh { group, .. } => {
            if let Some(refreshes) = observed.groups.get_mut(group).and_then(|group| group.refreshes.as_mut()) {
                refreshes.iter_mut().for_each(|row| row.state = RefreshState::Unsuccessful);
            }
        }
    }
}

fn set(observed: &mut Observed, group: &str, version: &str) {
    let (id, name) = (observed.template.id.clone(), observed.template.name.clone());
    let group = observed.groups.get_mut(group);
    let places = group.into_iter().flat_map(|group| group.row.places.iter_mut());
    for place in places.filter(|place| place.is_of(&id, &name)) {
        version.clone_into(&mut place.version);
    }
}

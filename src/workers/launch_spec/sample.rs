//! Templates and revisions for tests.

use serde_json::{Value, json};

use crate::{
    crd::template::WorkerTemplate,
    ids::Role,
    inventory::ownership::Owner,
    workers::launch_spec::{
        LaunchSpec, Resolved,
        resolve::resolution::Resolution,
        revision::{Revision, Workers},
    },
};

pub(super) const UID: &str = "6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e";
pub(super) const ANOTHER: &str = "11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e";

impl Resolved {
    /// For a template that names everything by id.
    pub(crate) fn of_ids(owner: &Owner, role: &Role, template: &WorkerTemplate) -> Self {
        let workers = Workers { owner, role, template, parameters: None };
        let launch_spec = LaunchSpec::new(workers, &Resolution::of_ids(template).unwrap()).unwrap();
        Self { launch_spec: Some(launch_spec), ..Self::default() }
    }
}

/// A template that names everything by id, overridden by `fields`.
pub(super) fn template(fields: Value) -> WorkerTemplate {
    let mut template = json!({
        "ami": {"id": "ami-00000001"}, "instanceTypes": ["m6i.large"], "subnets": {"ids": ["subnet-00000001"]},
    });
    template.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(template).unwrap()
}

/// The revision of such a template.
pub(super) fn revision_of(uid: &str, role: &Role, fields: Value) -> Revision {
    let (owner, template) = (&Owner::sample(uid), &template(fields));
    let resolution = Resolution::of_ids(template).unwrap();
    Revision::new(Workers { owner, role, template, parameters: None }, &resolution).unwrap()
}

pub(super) fn revision(fields: Value) -> Revision {
    revision_of(UID, &Role::main(), fields)
}

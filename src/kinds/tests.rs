//! Every kind of the list has all the files outside of its folder that belong to a kind.

use std::path::Path;

use futures::FutureExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{ForEachKind, for_each};
use crate::{k8s::object::StatusList, manifests, reconcile::Kind, tags::OWNER_TAGS};

fn file(path: &str) -> Option<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

/// Calls `check` with each kind, and fails with what any of them lacks.
struct Lacking(Vec<String>);

impl Lacking {
    fn check<K: Kind>(&mut self, holds: bool, what: &str) {
        if !holds {
            self.0.push(format!("{}: {what}", K::NAME));
        }
    }
}

impl ForEachKind for Lacking {
    fn kind<K: Kind + CustomResourceExt>(&mut self) {
        let (plural, singular) = (K::plural(&()).into_owned(), K::NAME.to_lowercase());
        self.check::<K>(K::NAME == K::kind(&()), "NAME is the kind of the CRD");
        self.check::<K>(K::FINALIZER == format!("muster.dev/{singular}"), "FINALIZER is muster.dev/<kind>");

        let crd = file(&format!("crds/muster.dev_{plural}.yaml"));
        self.check::<K>(crd.is_some(), "a CRD in crds/: run `make generate`");
        let chart = file(&format!("charts/muster/files/crds/muster.dev_{plural}.yaml"));
        self.check::<K>(crd == chart, "the same CRD in the chart: run `make generate`");
        let page = file(&format!("docs/reference/{singular}.md"));
        self.check::<K>(
            page.is_some_and(|page| page.contains(K::NAME)),
            "a page in docs/reference: run `make generate`",
        );

        let templates = ["rbac.yaml", "_helpers.tpl"].map(|name| file(&format!("charts/muster/templates/{name}")));
        let rbac = templates.into_iter().flatten().collect::<String>();
        for resource in [plural.clone(), format!("{plural}/status")] {
            let named = rbac.split(|c: char| !(c.is_ascii_alphanumeric() || c == '/')).any(|word| word == resource);
            self.check::<K>(named, &format!("a rule for {resource} in the chart"));
        }

        let manifest = format!("{{apiVersion: muster.dev/v1alpha1, kind: {}, metadata: {{name: a}}}}", K::NAME);
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), manifest).unwrap();
        let mut output = Vec::new();
        manifests::check(&[path.path()], None, &mut output).now_or_never().unwrap().unwrap();
        let output = String::from_utf8(output).unwrap();
        self.check::<K>(output.contains("missing field `spec`"), &format!("a place in `muster plan -f`: {output}"));

        let resource = format!("{plural}.muster.dev");
        for (path, word) in [
            ("README.md", format!("`{}`", K::NAME)),
            ("docs/README.md", format!("[{}](reference/{singular}.md)", K::NAME)),
            ("docs/install.md", resource.clone()),
            ("charts/muster/templates/NOTES.txt", resource),
        ] {
            self.check::<K>(file(path).is_some_and(|text| text.contains(&word)), &format!("{word} in {path}"));
        }
        self.check::<K>(K::OWNER_TAG.is_none_or(|tag| OWNER_TAGS.contains(&tag)), "its OWNER_TAG in OWNER_TAGS");
        self.status_lists::<K>();
    }
}

impl Lacking {
    /// Every list of objects in the status is declared, with a key that its items have, and nothing else is.
    fn status_lists<K: Kind + CustomResourceExt>(&mut self) {
        let crd = K::crd();
        let schema = crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let status = &schema.unwrap().properties.as_ref().unwrap()["status"];
        let mut lists = Vec::new();
        object_lists(status, &mut lists);
        let declared: Vec<StatusList> = K::STATUS_LISTS.iter().copied().flatten().copied().collect();
        for (field, items) in &lists {
            match declared.iter().find(|list| list.field == *field) {
                None => self.check::<K>(false, &format!("the list {field} of the status in STATUS_LISTS")),
                Some(StatusList { key: Some(key), .. }) => {
                    let has = items.properties.as_ref().is_some_and(|fields| fields.contains_key(*key));
                    self.check::<K>(has, &format!("the key {key} in the items of {field}"));
                }
                // The record of what runs must survive an older version of muster.
                Some(StatusList { key: None, .. }) => {
                    self.check::<K>(K::OWNER_TAG.is_none(), &format!("a key for the list {field}"));
                }
            }
        }
        for StatusList { field, .. } in declared {
            let exists = lists.iter().any(|(name, _)| *name == field);
            self.check::<K>(exists, &format!("the list {field}, which STATUS_LISTS names, in the status"));
        }
    }
}

/// The lists below `props` whose items are objects, at any depth, by the name of their field.
fn object_lists<'a>(props: &'a JSONSchemaProps, lists: &mut Vec<(&'a str, &'a JSONSchemaProps)>) {
    for (name, field) in props.properties.iter().flatten() {
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items {
            if items.properties.is_some() {
                lists.push((name, items));
            }
            object_lists(items, lists);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &field.additional_properties {
            object_lists(values, lists);
        }
        object_lists(field, lists);
    }
}

#[test]
fn every_kind_is_complete() {
    let mut lacking = Lacking(Vec::new());
    for_each(&mut lacking);
    assert!(lacking.0.is_empty(), "missing:\n{}", lacking.0.join("\n"));
}

#[test]
fn every_api_file_belongs_to_a_listed_kind() {
    let pages = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/crds")).unwrap();
    let files: Vec<_> = pages.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files.len(), super::names().len(), "{files:?}");
}

//! Every validation rule is violated once, and the error says what to write.

mod account;
mod fleet;
mod job;
mod pin;
mod report;
mod template;

use std::collections::BTreeSet;

use http::Method;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Value, json};

use super::{Kind, bounds, installed, kinds, manifests, offer, offer_new};

/// Changes to a complete manifest, and the expected error message.
#[derive(Clone)]
struct Mistake {
    on: On,
    /// JSON pointers with their new values; null removes the field.
    edits: Vec<(&'static str, Value)>,
    message: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Create,
    /// The object exists already, with the complete manifest.
    Update,
}

fn create(edits: &[(&'static str, Value)], message: &'static str) -> Mistake {
    Mistake { on: On::Create, edits: edits.to_vec(), message }
}

fn update(edits: &[(&'static str, Value)], message: &'static str) -> Mistake {
    Mistake { on: On::Update, edits: edits.to_vec(), message }
}

/// Each with its kind.
fn mistakes() -> impl Iterator<Item = (&'static str, Mistake)> {
    let all = [
        ("AwsAccount", account::mistakes()),
        ("FleetReport", report::mistakes()),
        ("LaunchTemplatePin", pin::mistakes()),
        ("WorkerFleet", fleet::mistakes()),
        ("WorkerFleet", template::mistakes()),
        ("WorkerJob", job::mistakes()),
        ("WorkerJob", template::mistakes()),
    ];
    all.into_iter().flat_map(|(kind, mistakes)| mistakes.into_iter().map(move |mistake| (kind, mistake)))
}

fn edited(mut manifest: Value, edits: &[(&str, Value)]) -> Value {
    for (pointer, value) in edits {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = manifest.pointer_mut(parent).unwrap_or_else(|| panic!("the manifest has no {parent}"));
        match (parent, value) {
            (Value::Object(fields), Value::Null) => {
                fields.remove(key).unwrap_or_else(|| panic!("there is no {pointer} to remove"));
            }
            (Value::Object(fields), value) => {
                fields.insert(key.to_owned(), value.clone());
            }
            (Value::Array(list), value) => list[key.parse::<usize>().expect("an index")] = value.clone(),
            (other, _) => panic!("{pointer}: {other} has no fields"),
        }
    }
    manifest
}

#[tokio::test]
async fn every_mistake_is_rejected_with_the_fix() {
    let kube = installed().await;
    let client = kube.admin().await.expect("a client");
    let namespace = kube.namespace().await.expect("a namespace");
    let mut wrong = Vec::new();
    for (number, (kind, Mistake { on, edits, message })) in mistakes().enumerate() {
        let mut whole = manifests::first(kind);
        let answer = match on {
            On::Create => offer_new(&client, &namespace, &edited(whole, &edits)).await,
            On::Update => {
                let kind = Kind::of(&whole);
                let name = format!("{namespace}-{number}");
                whole["metadata"]["name"] = json!(name);
                let path = kind.path(&namespace);
                let stored = offer(&client, Method::POST, &path, &whole).await.expect("a complete manifest");
                let path = format!("{path}/{name}");
                let answer = offer(&client, Method::PUT, &format!("{path}?dryRun=All"), &edited(stored, &edits)).await;
                offer(&client, Method::DELETE, &path, &json!({})).await.expect("a deletion");
                answer
            }
        };
        match answer {
            Ok(_) => wrong.push(format!("{kind} with {edits:?} is accepted")),
            Err(refusal) if refusal.contains(message) => {}
            Err(refusal) => wrong.push(format!("{kind} with {edits:?} is refused with {refusal:?}, not {message:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_validation_rule_has_a_test() {
    let tried: BTreeSet<_> = mistakes().map(|(kind, mistake)| (kind, mistake.message)).collect();
    for kind in kinds() {
        let mut rules = Vec::new();
        collect(&kind.schema, &mut rules);
        assert!(!rules.is_empty(), "{} has no rule at all", kind.name);
        for (rule, message) in rules {
            // bounds.rs tests these.
            if bounds::pattern(&rule).is_none() {
                let tried = tried.iter().any(|(k, part)| *k == kind.name && message.contains(part));
                assert!(tried, "no {} violates {rule}: {message}", kind.name);
            }
        }
    }
}

fn collect(schema: &JSONSchemaProps, rules: &mut Vec<(String, String)>) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        rules.push((rule.rule.clone(), rule.message.clone().expect("a message")));
    }
    schema.properties.iter().flatten().for_each(|(_, property)| collect(property, rules));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        collect(items, rules);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        collect(values, rules);
    }
}

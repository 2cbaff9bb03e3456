//! The API server enforces every bound of every schema: for each bound there is a manifest that violates only this bound.
//!
//! The manifests are derived from the schemas, so a new field is tested as soon as a complete manifest contains it, and the
//! test fails until one does.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::Regex;
use serde_json::{Value, json};

use super::{installed, kinds, manifests, offer_new};

/// One bound of a schema at one field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bound {
    /// The field in the schema: `spec.template.subnets[]`.
    field: String,
    asks: String,
}

/// A value that violates a bound, and what the error must contain.
struct Breach {
    bound: Bound,
    value: Value,
    message: String,
}

fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => None,
    }
}

fn values(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(values),
        Some(JSONSchemaPropsOrBool::Bool(_)) | None => None,
    }
}

/// The bounds of one field, each with a value that violates it. `valid` is a value that violates none.
fn breaches(schema: &JSONSchemaProps, field: &str, valid: &Value) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut breach = |asks: String, value: Value, message: &str| {
        found.push(Breach { bound: Bound { field: field.into(), asks }, value, message: message.into() });
    };
    if let Some(type_) = &schema.type_ {
        let other = if type_ == "string" { json!(7) } else { json!("seven") };
        breach(format!("type {type_}"), other, "Invalid value");
    }
    if schema.x_kubernetes_int_or_string == Some(true) {
        breach("integer or text".into(), json!(true), "Invalid value");
    }
    if schema.enum_.is_some() {
        breach("enum".into(), json!("Nonsense"), "Unsupported value: \"Nonsense\": supported values: ");
    }
    if let Some(most) = schema.max_length {
        breach(format!("maxLength {most}"), json!("a".repeat(most as usize + 1)), "Too long");
    }
    if let Some(least) = schema.min_length.filter(|least| *least > 0) {
        let short = "a".repeat(least as usize - 1);
        breach(format!("minLength {least}"), json!(short), &format!("should be at least {least} chars long"));
    }
    if let Some(most) = schema.maximum {
        breach(format!("maximum {most}"), json!(most as i64 + 1), "should be less than or equal to");
    }
    if let Some(least) = schema.minimum {
        breach(format!("minimum {least}"), json!(least as i64 - 1), "should be greater than or equal to");
    }
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        let Some(pattern) = pattern(&rule.rule) else { continue };
        let pattern = Regex::new(pattern).expect("a pattern");
        let least = schema.min_length.unwrap_or(0).max(1) as usize;
        let text = ["?".repeat(least), " ".repeat(least)].into_iter().find(|text| !pattern.is_match(text));
        let text = text.unwrap_or_else(|| panic!("{field}: nothing was found that {pattern} refuses"));
        breach(rule.rule.clone(), json!(text), rule.message.as_deref().expect("a message"));
    }
    if let Value::Array(list) = valid {
        let first = list.first().expect("whole manifests leave no list empty");
        if let Some(most) = schema.max_items {
            breach(format!("maxItems {most}"), vec![first.clone(); most as usize + 1].into(), "Too many");
        }
        if let Some(least) = schema.min_items.filter(|least| *least > 0) {
            let short = vec![first.clone(); least as usize - 1];
            breach(format!("minItems {least}"), short.into(), &format!("should have at least {least} items"));
        }
        if matches!(schema.x_kubernetes_list_type.as_deref(), Some("set" | "map")) {
            breach("no duplicates".into(), json!([first, first]), "Duplicate value");
        }
    }
    if let Value::Object(map) = valid {
        if let Some(most) = schema.max_properties {
            let any = map.values().next().expect("whole manifests leave no map empty");
            let many: serde_json::Map<_, _> = (0..=most).map(|i| (format!("key{i}"), any.clone())).collect();
            breach(format!("maxProperties {most}"), many.into(), "Too many");
        }
        if let Some(least) = schema.min_properties.filter(|least| *least > 0) {
            breach(format!("minProperties {least}"), json!({}), &format!("should have at least {least} properties"));
        }
        for name in schema.required.iter().flatten() {
            let mut without = map.clone();
            without.remove(name);
            breach(format!("required {name}"), without.into(), "Required value");
        }
        if values(schema).is_none() {
            let mut with = map.clone();
            with.insert("tpyo".into(), json!(1));
            breach("known fields only".into(), with.into(), "unknown field");
        }
    }
    found
}

/// The pattern of a rule that consists of one pattern.
pub(super) fn pattern(rule: &str) -> Option<&str> {
    let quoted = rule.strip_prefix("self.matches(")?.strip_suffix("')")?;
    quoted.strip_prefix("r'").or_else(|| quoted.strip_prefix('\''))
}

/// Walks a schema along a valid value, which is at `pointer` in its manifest.
fn walk(schema: &JSONSchemaProps, field: &str, pointer: &str, value: &Value, visit: &mut impl FnMut(&str, Breach)) {
    for breach in breaches(schema, field, value) {
        visit(pointer, breach);
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let property = schema.properties.as_ref().and_then(|p| p.get(name));
                let Some(inner) = property.or_else(|| values(schema)) else { continue };
                let field = if property.is_some() { format!("{field}.{name}") } else { format!("{field}[]") };
                let name = name.replace('~', "~0").replace('/', "~1");
                walk(inner, &field, &format!("{pointer}/{name}"), value, visit);
            }
        }
        Value::Array(list) => {
            let Some(inner) = items(schema) else { return };
            for (index, item) in list.iter().enumerate() {
                walk(inner, &format!("{field}[]"), &format!("{pointer}/{index}"), item, visit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every field of a schema.
fn fields(schema: &JSONSchemaProps, field: &str, found: &mut BTreeSet<String>) {
    found.insert(field.to_owned());
    for (name, property) in schema.properties.iter().flatten() {
        fields(property, &format!("{field}.{name}"), found);
    }
    for inner in items(schema).into_iter().chain(values(schema)) {
        fields(inner, &format!("{field}[]"), found);
    }
}

#[tokio::test]
async fn every_bound_is_enforced() {
    let kube = installed().await;
    let client = kube.admin().await.expect("a client");
    let namespace = kube.namespace().await.expect("a namespace");
    let mut wrong = Vec::new();
    for kind in kinds() {
        let spec = &kind.schema.properties.as_ref().expect("properties")["spec"];
        let mut tried = BTreeSet::new();
        let mut offers = Vec::new();
        for whole in manifests::all().into_iter().filter(|m| m["kind"] == kind.name.as_str()) {
            walk(spec, "spec", "/spec", &whole["spec"], &mut |pointer, breach| {
                if tried.insert(breach.bound.clone()) {
                    let mut manifest = whole.clone();
                    *manifest.pointer_mut(pointer).expect("a field") = breach.value.clone();
                    offers.push((manifest, breach));
                }
            });
        }
        let mut untried = BTreeSet::new();
        fields(spec, "spec", &mut untried);
        for bound in &tried {
            untried.remove(&bound.field);
        }
        assert!(untried.is_empty(), "no complete {} in manifests.rs has {untried:?}", kind.name);
        let refusals: Vec<_> = stream::iter(offers)
            .map(|(manifest, breach)| {
                let (client, namespace) = (&client, &namespace);
                async move { (offer_new(client, namespace, &manifest).await, breach) }
            })
            .buffer_unordered(8)
            .collect()
            .await;
        for (answer, Breach { bound, message, .. }) in refusals {
            let Bound { field, asks } = bound;
            let name = &kind.name;
            match answer {
                Ok(_) => wrong.push(format!("{name} {field}: {asks} is not enforced")),
                Err(refusal) if refusal.contains(&message) && names(&refusal, &field) => {}
                Err(refusal) => {
                    wrong.push(format!("{name} {field}: {asks} is refused with {refusal:?}, not {message:?}"))
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether an error names its field.
fn names(refusal: &str, field: &str) -> bool {
    let last = field.trim_end_matches("[]").rsplit('.').next().unwrap_or(field);
    refusal.contains(last.trim_end_matches("[]"))
}

//! Rules that every schema of every kind keeps.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// What is wrong with a field, each with the field's path.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn check(&mut self, holds: bool, path: &str, finding: &str) {
        if !holds {
            self.0.push(format!("{path}: {finding}"));
        }
    }
}

fn lint(crd: &CustomResourceDefinition) -> Vec<String> {
    let mut findings = Findings::default();
    let kind = crd.spec.names.kind.as_str();
    let categories = crd.spec.names.categories.as_deref().unwrap_or_default();
    findings.check(categories == ["muster"], kind, "the category is muster");
    findings.check(crd.spec.names.short_names.as_ref().is_some_and(|s| !s.is_empty()), kind, "a short name is missing");
    for version in &crd.spec.versions {
        let columns = version.additional_printer_columns.as_deref().unwrap_or_default();
        for (name, path) in [
            ("Ready", r#".status.conditions[?(@.type=="Ready")].status"#),
            ("Reason", r#".status.conditions[?(@.type=="Ready")].reason"#),
            ("Suspend", ".spec.suspend"),
            ("Age", ".metadata.creationTimestamp"),
        ] {
            let found = columns.iter().any(|c| c.name == name && c.json_path == path && c.priority.unwrap_or(0) == 0);
            findings.check(found, kind, &format!("the column {name} is missing"));
        }
        let root = version.schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref()).expect("a schema");
        field(root, kind, &mut findings);
        let has = |name: &str| root.properties.as_ref().is_some_and(|p| p.contains_key(name));
        findings.check(has("spec") && has("status"), kind, "spec and status are both there");
        let status = version.subresources.as_ref().is_some_and(|s| s.status.is_some());
        findings.check(status, kind, "the status subresource is on");
    }
    findings.0
}

fn field(props: &JSONSchemaProps, path: &str, findings: &mut Findings) {
    findings.check(props.description.as_ref().is_some_and(|d| !d.trim().is_empty()), path, "a description is missing");
    findings.check(props.nullable.is_none(), path, "null is not a value");
    let explained = props.pattern.is_none() || path.contains(".status.");
    findings.check(explained, path, "a pattern needs a line in patterns.rs that says what to write");
    let unions = [&props.one_of, &props.any_of, &props.all_of];
    findings.check(unions.iter().all(|u| u.is_none()), path, "unions are CEL rules, whose messages can be read");
    findings.check(props.x_kubernetes_preserve_unknown_fields.is_none(), path, "unknown fields are pruned");
    let odd = props.multiple_of.is_some()
        || props.unique_items.is_some()
        || props.exclusive_maximum.is_some()
        || props.exclusive_minimum.is_some()
        || props.not.is_some();
    findings.check(!odd, path, "what tests/it/crds/bounds.rs does not try out is not used");
    for rule in props.x_kubernetes_validations.iter().flatten() {
        let message = rule.message.as_ref().is_some_and(|m| m.len() > 10);
        findings.check(message, path, &format!("a message that says what to write is missing for {}", rule.rule));
    }
    match props.type_.as_deref() {
        Some("string") => {
            let is_time = matches!(props.format.as_deref(), Some("date-time" | "date"));
            let bounded = props.enum_.is_some() || props.max_length.is_some() || is_time;
            findings.check(bounded, path, "a string needs maxLength, an enum, or a format that bounds it");
        }
        Some("array") => {
            findings.check(props.max_items.is_some(), path, "a list needs maxItems");
            findings.check(props.x_kubernetes_list_type.is_some(), path, "a list needs x-kubernetes-list-type");
            match &props.items {
                Some(JSONSchemaPropsOrArray::Schema(items)) => item(items, path, findings),
                Some(JSONSchemaPropsOrArray::Schemas(_)) | None => findings.check(false, path, "a list has items"),
            }
        }
        Some("object") => match &props.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(values)) => {
                findings.check(props.max_properties.is_some(), path, "a map needs maxProperties");
                item(values, path, findings);
            }
            Some(JSONSchemaPropsOrBool::Bool(_)) => findings.check(false, path, "a map says what its values are"),
            None => {
                // To choose it says all that there is to say.
                let bare = path.ends_with(".shutdownReason");
                let known = bare || props.properties.is_some() || path.ends_with(".metadata");
                findings.check(known, path, "an object needs properties");
            }
        },
        Some("integer") => {
            let format = matches!(props.format.as_deref(), Some("int32" | "int64"));
            findings.check(format, path, "the format of an integer is int32 or int64");
        }
        Some("boolean") => {}
        Some(other) => findings.check(false, path, &format!("the type {other} is not used in this API")),
        None => {
            let either = props.x_kubernetes_int_or_string == Some(true);
            findings.check(either, path, "a type is missing");
        }
    }
    for (name, property) in props.properties.iter().flatten() {
        let camel =
            name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_alphanumeric());
        let path = format!("{path}.{name}");
        findings.check(camel, &path, "names are camelCase");
        field(property, &path, findings);
    }
}

/// What is inside a list or a map. Its description is the list's own, unless it has fields.
fn item(props: &JSONSchemaProps, path: &str, findings: &mut Findings) {
    let mut props = props.clone();
    if props.type_.as_deref() != Some("object") {
        props.description = Some("an item".into());
    }
    field(&props, &format!("{path}[]"), findings);
}

#[test]
fn every_schema_has_bounds_and_descriptions() {
    let findings: Vec<_> = crate::kinds::crds().iter().flat_map(lint).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn rendering_is_deterministic_and_correct() {
    let files = crate::crd::schema::render(&crate::kinds::crds()).expect("YAML");
    assert_eq!(files, crate::crd::schema::render(&crate::kinds::crds()).expect("YAML"));
    for ((name, text), crd) in files.iter().zip(crate::kinds::crds()) {
        let read: serde_json::Value = serde_yaml::from_str(text).expect("YAML");
        let mut meant = serde_json::to_value(&crd).expect("JSON");
        crate::crd::schema::whole_numbers(&mut meant);
        assert_eq!(read, meant, "{name}");
        assert!(name.ends_with(&format!("{}.yaml", crd.spec.names.plural)), "{name}");
    }
}

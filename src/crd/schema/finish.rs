//! Adds what schemars and kube-derive cannot express, and changes what the API server warns about.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool, ValidationRule,
};
use serde_json::json;

use crate::crd::schema::patterns;

pub(super) fn finish(crd: &mut CustomResourceDefinition, grantable: &[&str]) {
    for version in &mut crd.spec.versions {
        columns(version.additional_printer_columns.get_or_insert_default());
        let Some(root) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else { continue };
        schema(root);
        let Some(properties) = &mut root.properties else { continue };
        if let Some(spec) = properties.get_mut("spec") {
            grantable_kinds(spec, grantable);
            explain_patterns(spec);
            // A column shows a field as it is stored, and false is clearer than an empty cell.
            if let Some(suspend) = spec.properties.as_mut().and_then(|p| p.get_mut("suspend")) {
                suspend.default.get_or_insert(JSON(json!(false)));
            }
        }
        if let Some(status) = properties.get_mut("status") {
            status.description.get_or_insert_with(|| "The observed state. Only muster writes it.".into());
        }
    }
}

/// The printer columns of every kind, around its own.
fn columns(own: &mut Vec<CustomResourceColumnDefinition>) {
    let column = |name: &str, type_: &str, json_path: &str| CustomResourceColumnDefinition {
        name: name.into(),
        type_: type_.into(),
        json_path: json_path.into(),
        ..Default::default()
    };
    let ready = |field: &str| format!(r#".status.conditions[?(@.type=="Ready")].{field}"#);
    let first = [("Ready", "status"), ("Reason", "reason")];
    own.splice(0..0, first.map(|(name, field)| column(name, "string", &ready(field))));
    own.push(column("Suspend", "boolean", ".spec.suspend"));
    own.push(column("Age", "date", ".metadata.creationTimestamp"));
}

/// A misspelt kind in a grant would grant nothing without an error, so the schema lists all kinds.
fn grantable_kinds(spec: &mut JSONSchemaProps, grantable: &[&str]) {
    let grant = field(spec, "grants").and_then(|grants| items(&mut grants.items));
    let kinds = grant.and_then(|grant| field(grant, "kinds")).and_then(|kinds| items(&mut kinds.items));
    if let Some(kinds) = kinds {
        kinds.enum_ = Some(["*"].iter().chain(grantable).map(|kind| JSON(json!(kind))).collect());
    }
}

fn field<'a>(props: &'a mut JSONSchemaProps, name: &str) -> Option<&'a mut JSONSchemaProps> {
    props.properties.as_mut()?.get_mut(name)
}

fn items(items: &mut Option<JSONSchemaPropsOrArray>) -> Option<&mut JSONSchemaProps> {
    match items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => None,
    }
}

fn schema(props: &mut JSONSchemaProps) {
    // An Option that is absent is left out, so null is never written and need not be accepted.
    props.nullable = None;
    if let Some(values) = &mut props.enum_ {
        values.retain(|JSON(value)| !value.is_null());
    }
    if props.default.as_ref().is_some_and(|JSON(value)| value.is_null()) {
        props.default = None;
    }
    if let Some(description) = &mut props.description {
        *description = unwrapped(description);
    }
    props.title = None;
    integer(props);
    if props.type_.as_deref() == Some("array") {
        // A list without keys is replaced as a whole when it is applied, which is also the default of the API server.
        props.x_kubernetes_list_type.get_or_insert_with(|| "atomic".into());
    }
    if let Some(list) = props.properties.as_mut().and_then(|p| p.get_mut("conditions")) {
        conditions(list);
    }
    children(props).for_each(schema);
}

/// The schemas directly below `props`: its fields, items and values.
fn children(props: &mut JSONSchemaProps) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let values = match &mut props.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(&mut **values),
        Some(JSONSchemaPropsOrBool::Bool(_)) | None => None,
    };
    props.properties.iter_mut().flat_map(|p| p.values_mut()).chain(items(&mut props.items)).chain(values)
}

/// The error of a pattern shows a regular expression; the error of a rule says what to write.
fn explain_patterns(props: &mut JSONSchemaProps) {
    if let Some((pattern, message)) = props.pattern.as_ref().and_then(|p| Some((p, patterns::what_to_write(p)?))) {
        let rule = ValidationRule {
            rule: format!("self.matches(r'{pattern}')"),
            message: Some(message.into()),
            ..Default::default()
        };
        props.x_kubernetes_validations.get_or_insert_default().push(rule);
        props.pattern = None;
    }
    children(props).for_each(explain_patterns);
}

/// The API server knows two formats of integers, and warns about others such as `uint32`.
fn integer(props: &mut JSONSchemaProps) {
    if props.type_.as_deref() != Some("integer") {
        return;
    }
    let unsigned = props.format.as_deref().is_some_and(|f| f.starts_with("uint"));
    if unsigned {
        props.minimum = Some(props.minimum.unwrap_or_default().max(0.0));
    }
    let narrow = match props.format.as_deref() {
        Some("int64" | "uint64" | "uint" | "int") => false,
        Some("uint32") => props.maximum.is_some_and(|m| m <= f64::from(i32::MAX)),
        _ => true,
    };
    props.format = Some(if narrow { "int32" } else { "int64" }.into());
    // The maximum of the Rust type tells users nothing.
    if props.maximum.is_some_and(|m| m == f64::from(u32::MAX)) {
        props.maximum = None;
    }
}

/// The bounds of metav1.Condition, which are Go markers that OpenAPI, and so k8s-openapi, lacks.
fn conditions(list: &mut JSONSchemaProps) {
    let Some(item) = items(&mut list.items) else { return };
    item.description = Some("One aspect of the current state of the object.".into());
    for (name, property) in item.properties.iter_mut().flatten() {
        let description = match name.as_str() {
            "lastTransitionTime" => "When the status last changed.",
            "message" => {
                property.max_length = Some(32_768);
                "A human-readable message: the state, its meaning, and what to do."
            }
            "observedGeneration" => {
                property.minimum = Some(0.0);
                "The generation of the spec that the condition describes."
            }
            "reason" => {
                property.min_length = Some(1);
                property.max_length = Some(1024);
                property.pattern = Some("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$".into());
                "The reason of the status, as one word for programs and columns."
            }
            "status" => {
                property.enum_ = Some([json!("True"), json!("False"), json!("Unknown")].map(JSON).into());
                "The status of the condition: True, False or Unknown."
            }
            "type" => {
                property.max_length = Some(316);
                property.pattern = Some(
                    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                        .into(),
                );
                "The type of the condition, for example `Ready`."
            }
            _ => continue,
        };
        property.description = Some(description.into());
    }
}

/// Removes the line breaks of doc comments; kubectl wraps lines itself.
fn unwrapped(text: &str) -> String {
    text.split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n\n")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn finished(schema_as_json: Value) -> Value {
        let mut props: JSONSchemaProps = serde_json::from_value(schema_as_json).unwrap();
        schema(&mut props);
        serde_json::to_value(props).unwrap()
    }

    #[test]
    fn integers_have_a_format_that_the_api_server_knows() {
        let integer = |mut schema: Value| {
            schema["type"] = json!("integer");
            schema
        };
        for (before, after) in [
            (
                json!({"format": "uint32", "maximum": 100.0}),
                json!({"format": "int32", "minimum": 0.0, "maximum": 100.0}),
            ),
            (json!({"format": "uint32"}), json!({"format": "int64", "minimum": 0.0})),
            (json!({"format": "uint64", "minimum": 1.0}), json!({"format": "int64", "minimum": 1.0})),
            (json!({"format": "int32"}), json!({"format": "int32"})),
        ] {
            assert_eq!(finished(integer(before)), integer(after));
        }
    }

    #[test]
    fn null_is_never_accepted() {
        let schema = json!({"type": "object", "properties": {
            "kind": {"type": "string", "nullable": true, "enum": ["A", null], "default": null}}});
        assert_eq!(
            finished(schema),
            json!({"type": "object", "properties": {"kind": {"type": "string", "enum": ["A"]}}})
        );
    }

    #[test]
    fn a_list_without_a_key_is_atomic() {
        let schema = json!({"type": "array", "items": {"type": "string"}});
        assert_eq!(finished(schema)["x-kubernetes-list-type"], json!("atomic"));
        let keyed = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}});
        assert_eq!(finished(keyed)["x-kubernetes-list-type"], json!("set"));
    }

    #[test]
    fn paragraphs_are_kept_and_line_breaks_are_removed() {
        assert_eq!(unwrapped("one\ntwo\n\nthree"), "one two\n\nthree");
    }
}

//! What schemars and kube-derive cannot say, or say in a way that the API server warns about.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use serde_json::json;

use super::patterns;

pub(super) fn finish(crd: &mut CustomResourceDefinition) {
    for version in &mut crd.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else { continue };
        schema(root);
        let Some(properties) = &mut root.properties else { continue };
        if let Some(spec) = properties.get_mut("spec") {
            explain_patterns(spec);
            // A column shows a field as it is stored, and false says more than nothing.
            if let Some(suspend) = spec.properties.as_mut().and_then(|p| p.get_mut("suspend")) {
                suspend.default.get_or_insert(JSON(json!(false)));
            }
        }
        if let Some(status) = properties.get_mut("status") {
            status.description.get_or_insert_with(|| "What was seen last. Written by muster, never by people.".into());
        }
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
        // What is not keyed is replaced as a whole by whoever applies it; that is also the API server's default, said.
        props.x_kubernetes_list_type.get_or_insert_with(|| "atomic".into());
    }
    if let Some(list) = props.properties.as_mut().and_then(|p| p.get_mut("conditions")) {
        conditions(list);
    }
    children(props).for_each(schema);
}

/// The schemas right below `props`: its fields, items and values.
fn children(props: &mut JSONSchemaProps) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let items = match &mut props.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(&mut **items),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => None,
    };
    let values = match &mut props.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(&mut **values),
        Some(JSONSchemaPropsOrBool::Bool(_)) | None => None,
    };
    props.properties.iter_mut().flat_map(|p| p.values_mut()).chain(items).chain(values)
}

/// A refused pattern shows the user a regular expression; a rule says what to write.
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
    // An unsigned type's own maximum says nothing that a person wants to read.
    if props.maximum.is_some_and(|m| m == f64::from(u32::MAX)) {
        props.maximum = None;
    }
}

/// The bounds that metav1.Condition has in Go as markers, which the OpenAPI document and so k8s-openapi lack.
fn conditions(list: &mut JSONSchemaProps) {
    let Some(JSONSchemaPropsOrArray::Schema(item)) = &mut list.items else { return };
    item.description = Some("One thing that is so, or is not, and why.".into());
    for (name, property) in item.properties.iter_mut().flatten() {
        match name.as_str() {
            "lastTransitionTime" => describe(property, "Since when the status is what it is."),
            "message" => {
                describe(property, "What is so, on which thing, and what to do about it. For people.");
                property.max_length = Some(32_768);
            }
            "observedGeneration" => {
                describe(property, "The generation of the spec that this condition speaks of.");
                property.minimum = Some(0.0);
            }
            "reason" => {
                describe(property, "Why, as one word for programs and columns.");
                property.min_length = Some(1);
                property.max_length = Some(1024);
                property.pattern = Some("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$".into());
            }
            "status" => {
                describe(property, "Whether it is so: True, False or Unknown.");
                property.enum_ = Some([json!("True"), json!("False"), json!("Unknown")].map(JSON).into());
            }
            "type" => {
                describe(property, "What the condition is about, for example `Ready`.");
                property.max_length = Some(316);
                property.pattern = Some(
                    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                        .into(),
                );
            }
            _ => {}
        }
    }
}

fn describe(property: &mut JSONSchemaProps, text: &str) {
    property.description = Some(text.into());
}

/// A paragraph of a doc comment is wrapped for the source's width; kubectl wraps for the reader's.
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
        for (before, after) in [
            (
                json!({"type": "integer", "format": "uint32", "maximum": 100.0}),
                json!({"type": "integer", "format": "int32", "minimum": 0.0, "maximum": 100.0}),
            ),
            (
                json!({"type": "integer", "format": "uint32"}),
                json!({"type": "integer", "format": "int64", "minimum": 0.0}),
            ),
            (
                json!({"type": "integer", "format": "uint64", "minimum": 1.0}),
                json!({"type": "integer", "format": "int64", "minimum": 1.0}),
            ),
            (json!({"type": "integer", "format": "int32"}), json!({"type": "integer", "format": "int32"})),
        ] {
            assert_eq!(finished(before), after);
        }
    }

    #[test]
    fn null_is_nowhere_accepted() {
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
    fn paragraphs_stay_and_line_breaks_go() {
        assert_eq!(unwrapped("one\ntwo\n\nthree"), "one two\n\nthree");
    }
}

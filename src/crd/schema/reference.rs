//! The reference pages: the content of `kubectl explain`, without a cluster.

use std::fmt::{self, Write};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

const HEADER: &str = "<!-- Generated from the Rust types by `make generate`. Do not edit. -->\n";

/// One page for each kind, as file names and contents.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub fn reference(crds: &[CustomResourceDefinition]) -> Result<Vec<(String, String)>, fmt::Error> {
    crds.iter()
        .map(|crd| Ok((format!("{}.md", crd.spec.names.singular.as_deref().unwrap_or("kind")), page(crd)?)))
        .collect()
}

fn page(crd: &CustomResourceDefinition) -> Result<String, fmt::Error> {
    let mut out = HEADER.to_owned();
    let names = &crd.spec.names;
    writeln!(out, "# {}\n", names.kind)?;
    for version in &crd.spec.versions {
        let Some(root) = version.schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref()) else { continue };
        writeln!(out, "{}\n", root.description.as_deref().unwrap_or_default())?;
        let scope = if crd.spec.scope == "Namespaced" { "It belongs to a namespace" } else { "It is cluster-wide" };
        writeln!(out, "`apiVersion: {}/{}`, `kind: {}`. {scope}.", crd.spec.group, version.name, names.kind)?;
        let short = names.short_names.as_deref().unwrap_or_default().join("`, `");
        writeln!(out, "For kubectl: `{}`, `{short}`; `kubectl get muster` shows it among all kinds.", names.plural)?;
        rules(&mut out, root)?;
        for part in ["spec", "status"] {
            let Some(schema) = root.properties.as_ref().and_then(|p| p.get(part)) else { continue };
            writeln!(out, "\n## {part}\n\n{}", schema.description.as_deref().unwrap_or_default())?;
            rules(&mut out, schema)?;
            writeln!(out, "\n| field | type | |\n|---|---|---|")?;
            fields(&mut out, schema, "", part == "spec")?;
        }
    }
    Ok(out)
}

/// The rules of a whole object, as their messages.
fn rules(out: &mut String, schema: &JSONSchemaProps) -> fmt::Result {
    let messages: Vec<_> =
        schema.x_kubernetes_validations.iter().flatten().filter_map(|r| r.message.as_deref()).collect();
    if !messages.is_empty() {
        writeln!(out)?;
    }
    messages.into_iter().try_for_each(|message| writeln!(out, "- {message}"))
}

/// `written` is false for a status, which users do not write: no field of it is shown as required or with a default.
fn fields(out: &mut String, schema: &JSONSchemaProps, prefix: &str, written: bool) -> fmt::Result {
    let required = schema.required.as_deref().unwrap_or_default();
    for (name, property) in schema.properties.iter().flatten() {
        let field = format!("{prefix}{name}");
        let mut notes = vec![property.description.clone().unwrap_or_default()];
        if written && required.contains(name) {
            notes.insert(0, "Required.".into());
        }
        if let Some(JSON(default)) = property.default.as_ref().filter(|JSON(default)| written && !default.is_object()) {
            notes.push(format!("Default: `{}`.", default.to_string().trim_matches('"')));
        }
        let rules = property
            .x_kubernetes_validations
            .iter()
            .flatten()
            .chain(item(property).into_iter().flat_map(|item| item.x_kubernetes_validations.iter().flatten()));
        notes.extend(rules.filter_map(|rule| rule.message.as_ref().map(|message| format!("*{message}.*"))));
        let cell = |text: &str| text.replace('|', "\\|").replace("\n\n", "<br>").replace('\n', " ");
        writeln!(out, "| `{field}` | {} | {} |", cell(&type_of(property)), cell(&notes.join(" ")))?;
        match item(property) {
            Some(inner) => fields(out, inner, &format!("{field}[]."), written)?,
            None => fields(out, property, &format!("{field}."), written)?,
        }
    }
    Ok(())
}

fn item(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => Some(item),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => None,
    }
}

/// The type with its bounds, in words.
fn type_of(schema: &JSONSchemaProps) -> String {
    if let Some(values) = &schema.enum_ {
        let values: Vec<_> = values.iter().map(|JSON(v)| format!("`{}`", v.to_string().trim_matches('"'))).collect();
        return values.join(", ");
    }
    match schema.type_.as_deref() {
        Some("integer") => match (schema.minimum, schema.maximum) {
            (Some(least), Some(most)) => format!("integer, {least} to {most}"),
            (Some(least), None) => format!("integer, {least} or more"),
            (None, Some(most)) => format!("integer, {most} or less"),
            (None, None) => "integer".into(),
        },
        Some("array") => {
            let most = schema.max_items.map(|most| format!(", at most {most}")).unwrap_or_default();
            let of = item(schema).map(type_of).unwrap_or_default();
            format!("list of {of}{most}")
        }
        Some("object") => match &schema.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(_)) => "map of text".into(),
            Some(JSONSchemaPropsOrBool::Bool(_)) | None => "object".into(),
        },
        Some("string") if schema.format.as_deref() == Some("date-time") => "time".into(),
        Some("string") => "text".into(),
        Some(other) => other.into(),
        None => "integer or text".into(),
    }
}

//! The CustomResourceDefinitions as they are installed: derived from the Rust types, and completed.

mod finish;
mod patterns;
mod reference;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

pub use crate::crd::schema::reference::reference;

/// First line of every file that [`render`] makes.
const HEADER: &str = "# Generated from the Rust types by `make generate`. Do not edit.\n";

/// `crds` as they are installed, by name. `grantable` are the kinds that use an AwsAccount.
pub fn finished(mut crds: Vec<CustomResourceDefinition>, grantable: &[&str]) -> Vec<CustomResourceDefinition> {
    crds.iter_mut().for_each(|crd| finish::finish(crd, grantable));
    crds.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    crds
}

/// A CRD cannot be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the CustomResourceDefinition {name} as YAML")]
pub struct RenderError {
    name: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The manifests, as file names and contents. The same types give the same bytes.
///
/// # Errors
/// When a schema cannot be written as YAML, which the types should exclude.
pub fn render(crds: &[CustomResourceDefinition]) -> Result<Vec<(String, String)>, RenderError> {
    crds.iter()
        .map(|crd| {
            let name = format!("{}_{}", crd.spec.group, crd.spec.names.plural);
            match yaml(crd) {
                Ok(text) => Ok((format!("{name}.yaml"), format!("{HEADER}{text}"))),
                Err(source) => Err(RenderError { name, source }),
            }
        })
        .collect()
}

fn yaml(crd: &CustomResourceDefinition) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let mut value = serde_json::to_value(crd)?;
    whole_numbers(&mut value);
    Ok(serde_yaml::to_string(&value)?)
}

/// Bounds are floats in the API's Go types; people read and write them as integers.
pub(crate) fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15) {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

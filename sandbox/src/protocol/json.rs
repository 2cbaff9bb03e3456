//! The JSON protocol of Systems Manager: the operation is in a header, a JSON object goes in and one comes out.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Response, StatusCode, request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::response::Body;
use crate::error::ApiError;

/// `AmazonSSM.GetParameter` names its service and its operation.
pub(crate) fn operation(parts: &request::Parts) -> String {
    let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default().to_owned()
}

pub(crate) fn parse(body: &[u8]) -> Result<Value, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ApiError::new("SerializationException", error.to_string()))
}

/// `{"Names": ["a", "b"]}` as `Names.1 = a` and `Names.2 = b`, as the Query protocol writes it.
pub(crate) fn flatten(value: &Value) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    into_flat(String::new(), value, &mut flat);
    flat
}

fn into_flat(name: String, value: &Value, flat: &mut BTreeMap<String, String>) {
    let below = |step: &str| if name.is_empty() { step.to_owned() } else { format!("{name}.{step}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| into_flat(below(key), value, flat)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| into_flat(below(&(index + 1).to_string()), item, flat));
        }
        Value::String(text) => {
            flat.insert(name, text.clone());
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => {
            flat.insert(name, value.to_string());
        }
    }
}

pub(crate) fn respond(status: StatusCode, request_id: &str, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/x-amz-json-1.1"));
    if let Ok(value) = http::HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", value);
    }
    response
}

pub(crate) fn error(error: &ApiError, request_id: &str) -> Response<Body> {
    respond(error.status, request_id, &json!({"__type": error.code, "message": error.message}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_flat_in_the_journal() {
        let value = json!({"Names": ["a", "b"], "Deep": {"Flag": true, "Nothing": null}, "Count": 3});
        let flat: Vec<_> = flatten(&value).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(flat, ["Count=3", "Deep.Flag=true", "Names.1=a", "Names.2=b"]);
    }
}

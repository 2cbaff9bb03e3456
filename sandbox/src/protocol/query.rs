//! The Query protocol of EC2, Auto Scaling, SNS and STS: a form goes in, XML comes out.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};

use super::response::{Body, ErrorCode};
use super::xml::Xml;
use crate::error::ApiError;

pub(crate) fn respond(status: StatusCode, request_id: &str, xml: String) -> Response<Body> {
    let body = Full::new(Bytes::from(xml)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/xml;charset=UTF-8"));
    if let Ok(value) = http::HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", value);
    }
    response
}

/// The answer of an operation, in the shape of all but EC2. `namespace` is an attribute.
pub(crate) fn answer(
    namespace: &str,
    operation: &str,
    result: Result<Xml, ApiError>,
    request_id: &str,
) -> Response<Body> {
    match result {
        Ok(content) => {
            let mut xml = Xml::document();
            xml.element_with(&format!("{operation}Response"), namespace, |xml| {
                xml.element(&format!("{operation}Result"), |xml| xml.append(&content));
                xml.element("ResponseMetadata", |xml| xml.text("RequestId", request_id));
            });
            respond(StatusCode::OK, request_id, xml.into_string())
        }
        Err(refused) => {
            let mut response = error(namespace, &refused, request_id);
            response.extensions_mut().insert(ErrorCode(refused.code));
            response
        }
    }
}

/// An error in the shape of all but EC2.
pub(crate) fn error(namespace: &str, error: &ApiError, request_id: &str) -> Response<Body> {
    let mut xml = Xml::document();
    xml.element_with("ErrorResponse", namespace, |xml| {
        xml.element("Error", |xml| {
            xml.text("Type", if error.status.is_server_error() { "Receiver" } else { "Sender" });
            xml.text("Code", &error.code);
            xml.text("Message", &error.message);
        });
        xml.text("RequestId", request_id);
    });
    respond(error.status, request_id, xml.into_string())
}

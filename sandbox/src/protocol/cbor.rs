//! The Smithy RPC v2 CBOR protocol, which most SDKs speak with CloudWatch: the operation is in the path, a CBOR map goes in
//! and one comes out.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use http::{Response, StatusCode, request};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder, decode::Error as Unreadable, encode::Error as Unwritable};

use super::response::Body;
use crate::error::ApiError;

/// Deeper than any request of AWS.
const MAX_DEPTH: u8 = 32;
/// Seconds since 1970 (RFC 8949, 3.4.2).
const EPOCH: Tag = Tag::new(1);

/// What CBOR and JSON both can say, and times, which CBOR tells apart from numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Time(Timestamp),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Value {
    pub(crate) fn map<const N: usize>(members: [(&str, Value); N]) -> Self {
        Self::Map(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn from_json(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(integer) => Self::Integer(integer),
                None => Self::Float(number.as_f64().unwrap_or_default()),
            },
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(items) => Self::List(items.into_iter().map(Self::from_json).collect()),
            serde_json::Value::Object(members) => {
                Self::Map(members.into_iter().map(|(name, value)| (name, Self::from_json(value))).collect())
            }
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Integer(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Time(time) => seconds(*time).into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(members) => members.iter().map(|(name, value)| (name.clone(), value.to_json())).collect(),
        }
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

/// `/service/GraniteServiceVersion20100801/operation/GetMetricData`
pub(crate) fn operation(parts: &request::Parts) -> String {
    parts.uri.path().rsplit_once("/operation/").map(|(_, operation)| operation).unwrap_or_default().to_owned()
}

pub(crate) fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Map(BTreeMap::new()));
    }
    decode(&mut Decoder::new(body), MAX_DEPTH)
        .map_err(|error| ApiError::new("SerializationException", format!("the body is no CBOR: {error}")))
}

fn decode(from: &mut Decoder<'_>, depth: u8) -> Result<Value, Unreadable> {
    let deeper = depth.checked_sub(1).ok_or_else(|| Unreadable::message("nested too deeply"))?;
    Ok(match from.datatype()? {
        Type::Null | Type::Undefined => {
            from.skip()?;
            Value::Null
        }
        Type::Bool => Value::Bool(from.bool()?),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 => {
            Value::Integer(from.i64()?)
        }
        Type::F16 | Type::F32 | Type::F64 => Value::Float(from.f64()?),
        Type::String => Value::Text(from.str()?.to_owned()),
        Type::StringIndef => Value::Text(from.str_iter()?.collect::<Result<Vec<_>, _>>()?.concat()),
        Type::Tag if from.tag()? == EPOCH => match decode(from, deeper)? {
            Value::Integer(seconds) => Value::Time(time(seconds.saturating_mul(1000))?),
            Value::Float(seconds) => Value::Time(time((seconds * 1000.0) as i64)?),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::Time(_) | Value::List(_) | Value::Map(_) => {
                return Err(Unreadable::message("a time that is no number"));
            }
        },
        Type::Array | Type::ArrayIndef => {
            let mut items = Vec::new();
            let count = from.array()?;
            while more(from, count, items.len())? {
                items.push(decode(from, deeper)?);
            }
            Value::List(items)
        }
        Type::Map | Type::MapIndef => {
            let mut members = BTreeMap::new();
            let count = from.map()?;
            let mut read = 0;
            while more(from, count, read)? {
                let Value::Text(name) = decode(from, deeper)? else {
                    return Err(Unreadable::message("a member whose name is no text"));
                };
                members.insert(name, decode(from, deeper)?);
                read += 1;
            }
            Value::Map(members)
        }
        other => return Err(Unreadable::message(format!("{other} is not expected"))),
    })
}

/// Whether another item follows. Without a count, a break ends them.
fn more(from: &mut Decoder<'_>, count: Option<u64>, read: usize) -> Result<bool, Unreadable> {
    match count {
        Some(count) => Ok((read as u64) < count),
        None if from.datatype()? == Type::Break => {
            from.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

fn time(milliseconds: i64) -> Result<Timestamp, Unreadable> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| Unreadable::message("a time beyond the calendar"))
}

fn encode(to: &mut Encoder<Vec<u8>>, value: &Value) -> Result<(), Unwritable<Infallible>> {
    match value {
        Value::Null => to.null()?,
        Value::Bool(value) => to.bool(*value)?,
        Value::Integer(value) => to.i64(*value)?,
        Value::Float(value) => to.f64(*value)?,
        Value::Text(text) => to.str(text)?,
        Value::Time(time) => to.tag(EPOCH)?.f64(seconds(*time))?,
        Value::List(items) => {
            to.array(items.len() as u64)?;
            return items.iter().try_for_each(|item| encode(to, item));
        }
        Value::Map(members) => {
            to.map(members.len() as u64)?;
            for (name, value) in members {
                to.str(name)?;
                encode(to, value)?;
            }
            to
        }
    };
    Ok(())
}

pub(crate) fn respond(status: StatusCode, request_id: &str, value: &Value) -> Response<Body> {
    let mut encoder = Encoder::new(Vec::new());
    // Writing to memory cannot fail.
    let _infallible = encode(&mut encoder, value);
    let body = Full::new(Bytes::from(encoder.into_writer())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/cbor"));
    headers.insert("smithy-protocol", http::HeaderValue::from_static("rpc-v2-cbor"));
    if let Ok(value) = http::HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", value);
    }
    response
}

pub(crate) fn error(error: &ApiError, request_id: &str) -> Response<Body> {
    let body = Value::map([("__type", Value::text(&error.code)), ("message", Value::text(&error.message))]);
    respond(error.status, request_id, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: &Value) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        encode(&mut encoder, value).expect("memory");
        encoder.into_writer()
    }

    #[test]
    fn what_was_written_is_read() {
        let value = Value::map([
            ("Times", Value::List(vec![Value::Time("2026-01-31T23:59:59.5Z".parse().expect("a time"))])),
            ("Values", Value::List(vec![Value::Float(1.5), Value::Integer(-7), Value::Bool(true), Value::Null])),
            ("Name", Value::text("schlüssel")),
        ]);
        assert_eq!(parse(&encoded(&value)).expect("CBOR"), value);
    }

    #[test]
    fn lengths_may_be_left_open() {
        // {_ "a": [_ 1, "b"], "t": 1(0)}
        let open = b"\xbf\x61a\x9f\x01\x7f\x61b\xff\xff\x61t\xc1\x00\xff";
        let time = Value::Time(Timestamp::UNIX_EPOCH);
        let list = Value::List(vec![Value::Integer(1), Value::text("b")]);
        assert_eq!(parse(open).expect("CBOR"), Value::map([("a", list), ("t", time)]));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let deep = vec![0x81; 1000];
        for bad in [&b"\xff"[..], b"\xa1\x01\x01", b"\xa1\x61a", b"\xc0\x61a", &deep] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}

//! Reads the members of a request, and refuses what the sandbox does not know.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::ApiError;
use crate::protocol::cbor::Value;

/// A map whose members are taken out one by one.
pub(super) struct Members {
    /// Where in the request it is, for messages.
    path: String,
    left: BTreeMap<String, Value>,
}

impl Members {
    pub(super) fn of(path: impl Into<String>, value: &Value) -> Result<Self, ApiError> {
        let path = path.into();
        match value {
            Value::Map(members) => Ok(Self { path, left: members.clone() }),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Time(_)
            | Value::List(_) => Err(invalid(format!("{path} must be a structure."))),
        }
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(invalid(format!("{} must be a text.", self.path(name)))),
        }
    }

    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Integer(number)) => Ok(Some(number)),
            Some(_) => Err(invalid(format!("{} must be an integer.", self.path(name)))),
        }
    }

    pub(super) fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(invalid(format!("{} must be true or false.", self.path(name)))),
        }
    }

    pub(super) fn time(&mut self, name: &str) -> Result<Timestamp, ApiError> {
        match self.left.remove(name) {
            Some(Value::Time(time)) => Ok(time),
            // JSON has seconds.
            Some(Value::Integer(seconds)) => Timestamp::from_second(seconds).map_err(|_| self.beyond(name)),
            Some(Value::Float(seconds)) => {
                Timestamp::from_millisecond((seconds * 1000.0) as i64).map_err(|_| self.beyond(name))
            }
            None | Some(Value::Null) => Err(self.missing(name)),
            Some(_) => Err(invalid(format!("{} must be a time.", self.path(name)))),
        }
    }

    /// Empty when it is not there.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>, ApiError> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::List(items)) => Ok(items),
            Some(_) => Err(invalid(format!("{} must be a list.", self.path(name)))),
        }
    }

    pub(super) fn structure(&mut self, name: &str) -> Result<Option<Self>, ApiError> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Self::of(self.path(name), &value).map(Some),
        }
    }

    fn beyond(&self, name: &str) -> ApiError {
        self.invalid(name, "it is beyond the calendar")
    }

    pub(super) fn missing(&self, name: &str) -> ApiError {
        ApiError::new("MissingParameter", format!("The parameter {} is required.", self.path(name)))
    }

    pub(super) fn invalid(&self, name: &str, problem: &str) -> ApiError {
        invalid(format!("The value of the parameter {} is invalid: {problem}", self.path(name)))
    }

    /// To be called when all members were read.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(invalid(format!("The sandbox does not know the parameter {}.", self.path(name)))),
        }
    }
}

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValue", message)
}

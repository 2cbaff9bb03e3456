//! Parameters of a Query request: `MaxCount`, `InstanceId.1`, `Filter.1.Value.2`, `BlockDeviceMapping.1.Ebs.VolumeSize`.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::xml;
use crate::error::ApiError;

/// All parameters of a request. Those that nobody read are an error, as in AWS.
#[derive(Debug)]
pub(crate) struct Params {
    values: BTreeMap<String, (String, Cell<bool>)>,
}

impl Params {
    pub(crate) fn new(form: &BTreeMap<String, String>) -> Self {
        let values = form.iter().map(|(name, value)| (name.clone(), (value.clone(), Cell::new(false)))).collect();
        Self { values }
    }

    pub(crate) fn root(&self) -> Scope<'_> {
        Scope { params: self, prefix: String::new() }
    }

    /// All names and values, without counting as read.
    pub(crate) fn all(&self) -> BTreeMap<String, String> {
        self.values.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect()
    }

    /// Refuses what was not read, and what no answer could show.
    pub(crate) fn finish(&self) -> Result<(), ApiError> {
        if let Some((name, _)) = self.values.iter().find(|(_, (value, _))| !value.chars().all(xml::is_allowed)) {
            return Err(invalid(format!("The value of the parameter {name} has characters that are not allowed.")));
        }
        match self.values.iter().find(|(_, (_, read))| !read.get()) {
            Some((name, _)) => {
                Err(ApiError::new("UnknownParameter", format!("The parameter {name} is not recognized")))
            }
            None => Ok(()),
        }
    }
}

/// The parameters below one prefix: a structure.
#[derive(Debug, Clone)]
pub(crate) struct Scope<'a> {
    params: &'a Params,
    prefix: String,
}

impl<'a> Scope<'a> {
    /// The full name, as error messages give it.
    pub(crate) fn name(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }

    pub(crate) fn text(&self, field: &str) -> Option<&'a str> {
        let (value, read) = self.params.values.get(&self.name(field))?;
        read.set(true);
        Some(value.as_str())
    }

    pub(crate) fn required(&self, field: &str) -> Result<&'a str, ApiError> {
        self.text(field).filter(|value| !value.is_empty()).ok_or_else(|| missing(&self.name(field)))
    }

    pub(crate) fn integer<T: FromStr>(&self, field: &str) -> Result<Option<T>, ApiError> {
        let parse = |value: &str| {
            value.parse().map_err(|_not_a_number| {
                invalid(format!("Invalid value '{value}' for {}. Must be an integer.", self.name(field)))
            })
        };
        self.text(field).map(parse).transpose()
    }

    pub(crate) fn boolean(&self, field: &str) -> Result<Option<bool>, ApiError> {
        let parse = |value: &str| match value {
            "true" | "True" | "1" => Ok(true),
            "false" | "False" | "0" => Ok(false),
            other => Err(invalid(format!("Invalid value '{other}' for {}. Must be true or false.", self.name(field)))),
        };
        self.text(field).map(parse).transpose()
    }

    /// One of the values an enum allows.
    pub(crate) fn one_of<T: Copy>(&self, field: &str, allowed: &[(&str, T)]) -> Result<Option<T>, ApiError> {
        let Some(value) = self.text(field) else { return Ok(None) };
        match allowed.iter().find(|(name, _)| *name == value) {
            Some((_, found)) => Ok(Some(*found)),
            None => Err(invalid(format!("Invalid value '{value}' for {}.", self.name(field)))),
        }
    }

    /// `InstanceId.1`, `InstanceId.2` ... in the order of their numbers.
    pub(crate) fn list(&self, field: &str) -> Vec<&'a str> {
        let prefix = self.name(&format!("{field}."));
        let mut found: Vec<(u32, &str)> = Vec::new();
        for (name, (value, read)) in self.below(&prefix) {
            if let Ok(index) = name[prefix.len()..].parse() {
                read.set(true);
                found.push((index, value));
            }
        }
        found.sort_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// The structures `Filter.1.`, `Filter.2.` ... in the order of their numbers.
    pub(crate) fn items(&self, field: &str) -> Vec<Scope<'a>> {
        let prefix = self.name(&format!("{field}."));
        let indexes: BTreeSet<u32> = self
            .below(&prefix)
            .filter_map(|(name, _)| name[prefix.len()..].split_once('.').and_then(|(index, _)| index.parse().ok()))
            .collect();
        indexes.into_iter().map(|index| Scope { params: self.params, prefix: format!("{prefix}{index}.") }).collect()
    }

    /// The structure `field`, if any of its fields was given.
    pub(crate) fn child(&self, field: &str) -> Option<Scope<'a>> {
        let prefix = self.name(&format!("{field}."));
        self.below(&prefix).next()?;
        Some(Scope { params: self.params, prefix })
    }

    fn below<'p>(&self, prefix: &'p str) -> impl Iterator<Item = (&'a String, &'a (String, Cell<bool>))> + use<'a, 'p> {
        self.params.values.range(prefix.to_owned()..).take_while(move |(name, _)| name.starts_with(prefix))
    }
}

pub(crate) fn missing(name: &str) -> ApiError {
    ApiError::new("MissingParameter", format!("The request must contain the parameter {name}"))
}

pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValue", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::new(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn lists_follow_their_numbers() {
        let params = params(&[("InstanceId.10", "c"), ("InstanceId.2", "b"), ("InstanceId.1", "a")]);
        assert_eq!(params.root().list("InstanceId"), ["a", "b", "c"]);
        params.finish().expect("all was read");
    }

    #[test]
    fn structures_nest() {
        let params = params(&[
            ("Filter.1.Name", "tag:a"),
            ("Filter.1.Value.1", "x"),
            ("Filter.1.Value.2", "y"),
            ("Filter.2.Name", "vpc-id"),
            ("Block.1.Ebs.VolumeSize", "8"),
        ]);
        let filters: Vec<_> =
            params.root().items("Filter").iter().map(|filter| (filter.text("Name"), filter.list("Value"))).collect();
        assert_eq!(filters, [(Some("tag:a"), vec!["x", "y"]), (Some("vpc-id"), vec![])]);
        let ebs = params.root().items("Block")[0].child("Ebs").expect("a structure");
        assert_eq!(ebs.integer::<u32>("VolumeSize"), Ok(Some(8)));
        params.finish().expect("all was read");
    }

    #[test]
    fn a_value_that_xml_cannot_carry_is_refused() {
        let params = params(&[("Tag.1.Value", "a\u{b}b")]);
        assert_eq!(params.root().text("Tag.1.Value"), Some("a\u{b}b"));
        assert_eq!(params.finish().expect_err("a control character").code, "InvalidParameterValue");
    }

    #[test]
    fn a_parameter_that_nobody_reads_is_refused() {
        let params = params(&[("MinCount", "1"), ("MinCuont", "1")]);
        assert_eq!(params.root().integer::<u32>("MinCount"), Ok(Some(1)));
        assert_eq!(params.finish().expect_err("unread").code, "UnknownParameter");
    }
}

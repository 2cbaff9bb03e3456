//! Resolves the values of a spec. Pure: the contents of Secrets and ConfigMaps are passed in.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws::ssm::ParameterValue,
    crd::parameters::{Parameter, ValueFrom},
    k8s::sources::{Content, Source},
};

/// All values of a role, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    pub by_name: BTreeMap<String, Value>,
    /// Whether any value comes from a Secret.
    from_secret: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub text: ParameterValue,
    pub secure: bool,
}

/// Why a value cannot be resolved. It never contains a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unresolved {
    #[error("{origin} does not exist, and the parameter {parameter} needs it: create it")]
    Missing { parameter: String, origin: Source },
    #[error("{origin} has no key {key}, and the parameter {parameter} needs it: add it")]
    MissingKey { parameter: String, origin: Source, key: String },
    #[error(
        "the key {key} of {origin} is not UTF-8 text, which the parameter {parameter} requires: store it encoded, for \
         example in base64"
    )]
    NotText { parameter: String, origin: Source, key: String },
}

/// The parameters of a role: those of the object, with the overrides of the role.
pub(super) fn for_role<'a>(values: &'a [Parameter], overrides: &'a [Parameter]) -> Vec<&'a Parameter> {
    let all: BTreeMap<_, _> = values.iter().chain(overrides).map(|p| (p.name.as_str(), p)).collect();
    all.into_values().collect()
}

/// The Secrets and ConfigMaps that values come from.
pub(super) fn sources<'a>(parameters: impl IntoIterator<Item = &'a Parameter>) -> BTreeSet<Source> {
    parameters.into_iter().filter_map(|p| Some(place(p.value_from.as_ref()?)?.0)).collect()
}

fn place(from: &ValueFrom) -> Option<(Source, &str)> {
    match (&from.secret_key_ref, &from.config_map_key_ref) {
        (Some(secret), _) => Some((Source::Secret(secret.name.clone()), &secret.key)),
        (None, Some(map)) => Some((Source::ConfigMap(map.name.clone()), &map.key)),
        // The schema requires one of them.
        (None, None) => None,
    }
}

pub(super) fn resolve(
    parameters: &[&Parameter],
    contents: &BTreeMap<Source, Option<Content>>,
) -> Result<Values, Unresolved> {
    let mut values = Values::default();
    for parameter in parameters {
        let name = &parameter.name;
        let (text, secret) = match parameter.value_from.as_ref().and_then(place) {
            None => (parameter.value.clone().unwrap_or_default(), false),
            Some((origin, key)) => {
                let (parameter, key) = (name.clone(), key.to_owned());
                let Some(content) = contents.get(&origin).and_then(Option::as_ref) else {
                    return Err(Unresolved::Missing { parameter, origin });
                };
                let Some(bytes) = content.data.get(&key) else {
                    return Err(Unresolved::MissingKey { parameter, origin, key });
                };
                let secret = matches!(origin, Source::Secret(_));
                let Ok(text) = String::from_utf8(bytes.clone()) else {
                    return Err(Unresolved::NotText { parameter, origin, key });
                };
                values.from_secret |= secret;
                (text, secret)
            }
        };
        let value = Value { text: ParameterValue::new(text), secure: parameter.secure.unwrap_or(secret) };
        values.by_name.insert(name.clone(), value);
    }
    Ok(values)
}

impl Values {
    /// Whether any value may be seen only by those who may read the store.
    pub(super) fn has_secret(&self) -> bool {
        self.from_secret || self.by_name.values().any(|value| value.secure)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(list: serde_json::Value) -> Vec<Parameter> {
        serde_json::from_value(list).unwrap()
    }

    fn contents(password: &[u8]) -> BTreeMap<Source, Option<Content>> {
        let of = |data: &[(&str, &[u8])]| {
            let data = data.iter().map(|(k, v)| ((*k).to_owned(), v.to_vec())).collect();
            Some(Content { data })
        };
        BTreeMap::from([
            (Source::Secret("db".into()), of(&[("password", password), ("blob", &[0xff, 0xfe])])),
            (Source::ConfigMap("app".into()), of(&[("model", b"red")])),
            (Source::Secret("gone".into()), None),
        ])
    }

    fn all() -> Vec<Parameter> {
        parameters(json!([
            {"name": "model", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "model"}}},
            {"name": "password", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            {"name": "threads", "value": "4"},
        ]))
    }

    fn resolved(list: &[Parameter], password: &[u8]) -> Result<Values, Unresolved> {
        resolve(&for_role(list, &[]), &contents(password))
    }

    fn texts(values: &Values) -> Vec<(&str, &str)> {
        values.by_name.iter().map(|(name, value)| (name.as_str(), value.text.expose())).collect()
    }

    #[test]
    fn values_are_read_from_their_sources() {
        let values = resolved(&all(), b"hunter2").unwrap();
        assert_eq!(texts(&values), [("model", "red"), ("password", "hunter2"), ("threads", "4")]);
        assert!(values.has_secret());
        let secure: Vec<_> = values.by_name.iter().filter(|(_, value)| value.secure).map(|(name, _)| name).collect();
        assert_eq!(secure, ["password"], "a value from a Secret is encrypted unless secure is set");
        let list = parameters(json!([{"name": "a", "value": "1", "secure": true},
            {"name": "b", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}, "secure": false}]));
        let values = resolved(&list, b"x").unwrap();
        assert!(values.by_name["a"].secure && !values.by_name["b"].secure);
    }

    #[test]
    fn a_role_overrides_and_adds_values() {
        let overrides = parameters(json!([{"name": "threads", "value": "8"}, {"name": "leader", "value": "yes"}]));
        let values = resolve(&for_role(&all(), &overrides), &contents(b"x")).unwrap();
        assert_eq!(texts(&values), [("leader", "yes"), ("model", "red"), ("password", "x"), ("threads", "8")]);
    }

    #[test]
    fn only_missing_values_are_named() {
        let from = |name: &str, key: &str| {
            parameters(json!([{"name": "p", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}]))
        };
        for (name, key, message) in [
            ("gone", "a", "Secret gone does not exist, and the parameter p needs it: create it"),
            ("unread", "a", "Secret unread does not exist, and"),
            ("db", "user", "Secret db has no key user, and the parameter p needs it: add it"),
            ("db", "blob", "the key blob of Secret db is not UTF-8 text"),
        ] {
            let refused = resolved(&from(name, key), b"hunter2").unwrap_err();
            assert!(refused.to_string().contains(message), "{refused}");
            assert!(!format!("{refused} {refused:?}").contains("hunter2"));
        }
    }

    #[test]
    fn values_are_not_printed() {
        let values = resolved(&all(), b"hunter2").unwrap();
        assert!(!format!("{values:?} {values:#?} {:?}", contents(b"hunter2")).contains("hunter2"));
    }

    #[test]
    fn the_sources_are_those_that_the_values_refer_to() {
        let expected = BTreeSet::from([Source::ConfigMap("app".into()), Source::Secret("db".into())]);
        assert_eq!(sources(&all()), expected);
    }
}

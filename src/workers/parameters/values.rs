//! Resolves the values of a spec. Pure: the contents of Secrets and ConfigMaps are passed in.

use std::collections::{BTreeMap, BTreeSet};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::{
    aws::ssm::ParameterValue,
    crd::parameters::{Parameter, ValueFrom},
    k8s::sources::{Content, Source},
};

/// All values of a role, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    pub by_name: BTreeMap<String, Value>,
    /// The uids of the Secrets that values come from.
    secrets: BTreeSet<String>,
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
                if secret {
                    values.secrets.insert(content.uid.clone());
                }
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
        !self.secrets.is_empty() || self.by_name.values().any(|value| value.secure)
    }

    /// The document that workers read.
    pub(super) fn document(&self) -> String {
        let plain: BTreeMap<_, _> = self.by_name.iter().map(|(name, value)| (name, value.text.expose())).collect();
        // A map of strings is always valid JSON.
        serde_json::to_string(&plain).unwrap_or_default()
    }

    /// Identifies the values in the status, in keys and in revisions. If a value comes from a Secret, the hash is keyed
    /// with the uids of the Secrets, which only those know who may read them: a plain digest would allow trying out
    /// passwords. So another Secret with the same values gives another hash.
    pub(super) fn hash(&self) -> String {
        let document = self.document();
        let digest = if self.secrets.is_empty() {
            Sha256::digest(&document).to_vec()
        } else {
            let key = self.secrets.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            let keyed = Hmac::<Sha256>::new_from_slice(key.as_bytes());
            // HMAC accepts keys of any length, so the error case is never reached; its digest would reveal nothing.
            keyed.map_or_else(|_| vec![0; 32], |mac| mac.chain_update(&document).finalize().into_bytes().to_vec())
        };
        hex::encode(&digest[..16])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(list: serde_json::Value) -> Vec<Parameter> {
        serde_json::from_value(list).unwrap()
    }

    fn contents(uid: &str, password: &[u8]) -> BTreeMap<Source, Option<Content>> {
        let of = |uid: &str, data: &[(&str, &[u8])]| {
            let data = data.iter().map(|(k, v)| ((*k).to_owned(), v.to_vec())).collect();
            Some(Content { uid: uid.into(), data })
        };
        BTreeMap::from([
            (Source::Secret("db".into()), of(uid, &[("password", password), ("blob", &[0xff, 0xfe])])),
            (Source::ConfigMap("app".into()), of("u2", &[("model", b"red")])),
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

    fn resolved(list: &[Parameter], uid: &str, password: &[u8]) -> Result<Values, Unresolved> {
        resolve(&for_role(list, &[]), &contents(uid, password))
    }

    #[test]
    fn values_are_read_from_their_sources() {
        let values = resolved(&all(), "u1", b"hunter2").unwrap();
        assert_eq!(values.document(), r#"{"model":"red","password":"hunter2","threads":"4"}"#);
        let secure: Vec<_> = values.by_name.iter().filter(|(_, value)| value.secure).map(|(name, _)| name).collect();
        assert_eq!(secure, ["password"], "a value from a Secret is encrypted unless secure is set");
        let list = parameters(json!([{"name": "a", "value": "1", "secure": true},
            {"name": "b", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}, "secure": false}]));
        let values = resolved(&list, "u1", b"x").unwrap();
        assert!(values.by_name["a"].secure && !values.by_name["b"].secure);
    }

    #[test]
    fn a_role_overrides_and_adds_values() {
        let overrides = parameters(json!([{"name": "threads", "value": "8"}, {"name": "leader", "value": "yes"}]));
        let values = resolve(&for_role(&all(), &overrides), &contents("u1", b"x")).unwrap();
        assert_eq!(values.document(), r#"{"leader":"yes","model":"red","password":"x","threads":"8"}"#);
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
            let refused = resolved(&from(name, key), "u1", b"hunter2").unwrap_err();
            assert!(refused.to_string().contains(message), "{refused}");
            assert!(!format!("{refused} {refused:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_secret_cannot_be_guessed_from_its_hash() {
        let hash = |uid: &str, password: &[u8]| resolved(&all(), uid, password).unwrap().hash();
        let first = hash("u1", b"1234");
        assert_eq!(first, hash("u1", b"1234"), "the same each time");
        assert_ne!(first, hash("u1", b"1235"));
        assert_ne!(first, hash("u2", b"1234"), "without the uid of the Secret it cannot be computed");
        let digest = hex::encode(&Sha256::digest(resolved(&all(), "u1", b"1234").unwrap().document())[..16]);
        assert_ne!(first, digest);
        let open = parameters(json!([{"name": "threads", "value": "4"}]));
        assert_eq!(resolved(&open, "u1", b"").unwrap().hash(), resolved(&open, "u2", b"").unwrap().hash());
    }

    #[test]
    fn values_are_not_printed() {
        let values = resolved(&all(), "u1", b"hunter2").unwrap();
        assert!(!format!("{values:?} {values:#?} {:?}", contents("u1", b"hunter2")).contains("hunter2"));
    }

    #[test]
    fn the_sources_are_those_that_the_values_refer_to() {
        let expected = BTreeSet::from([Source::ConfigMap("app".into()), Source::Secret("db".into())]);
        assert_eq!(sources(&all()), expected);
    }
}

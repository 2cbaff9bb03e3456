//! The key of a release: a Secret that muster creates.
//!
//! Whoever may see a hash can try out values until one has it. A hash that is keyed with a secret tells them nothing.

use std::{collections::BTreeMap, fmt};

use hmac::{Hmac, KeyInit, Mac};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use sha2::Sha256;

use crate::{
    config::SecretName,
    k8s::cluster::{self, Cluster},
};

const ENTRY: &str = "key";
const SIZE: usize = 32;

#[derive(Clone, PartialEq, Eq)]
pub struct ReleaseKey {
    key: [u8; SIZE],
    id: String,
}

impl fmt::Debug for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleaseKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Call(#[from] cluster::Error),
    #[error(
        "the Secret {0} has no entry {ENTRY:?} of {SIZE} bytes: restore it, or delete it, and muster creates another one, \
         which replaces no worker"
    )]
    Malformed(SecretName),
}

impl ReleaseKey {
    /// Reads the key, and creates it if it does not exist. It is never overwritten.
    ///
    /// # Errors
    /// When Kubernetes refuses or does not answer, or the Secret holds no key.
    pub async fn load(cluster: &Cluster, place: &SecretName) -> Result<Self, Error> {
        let api: Api<Secret> = Api::namespaced(cluster.client.clone(), &place.namespace);
        let read = format!("read the Secret {place} with the key of this release");
        if let Some(secret) = cluster.call(&read, api.get_opt(&place.name)).await? {
            return Self::read(&secret, place);
        }
        let secret = Self::random().secret(place);
        let create = format!("create the Secret {place} with the key of this release");
        match cluster.call(&create, api.create(&PostParams::default(), &secret)).await {
            Ok(secret) => Self::read(&secret, place),
            // Another replica created it first.
            Err(error) if error.is_already_exists() => {
                Self::read(&cluster.call(&read, api.get(&place.name)).await?, place)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// For a process without a Secret: the key is lost when the process ends.
    pub fn random() -> Self {
        Self::new(rand::random())
    }

    pub fn new(key: [u8; SIZE]) -> Self {
        let unnamed = Self { key, id: String::new() };
        Self { id: hex::encode(&unnamed.mac(&["key id"])[..4]), key }
    }

    fn read(secret: &Secret, place: &SecretName) -> Result<Self, Error> {
        let entry = secret.data.as_ref().and_then(|data| data.get(ENTRY));
        let key = entry.and_then(|ByteString(bytes)| <[u8; SIZE]>::try_from(bytes.as_slice()).ok());
        key.map(Self::new).ok_or_else(|| Error::Malformed(place.clone()))
    }

    fn secret(&self, place: &SecretName) -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: Some(place.name.clone()),
                namespace: Some(place.namespace.clone()),
                labels: Some(BTreeMap::from([("app.kubernetes.io/managed-by".into(), "muster".into())])),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            data: Some(BTreeMap::from([(ENTRY.into(), ByteString(self.key.to_vec()))])),
            ..Secret::default()
        }
    }

    /// The HMAC of `parts`, of which only the last may contain a NUL.
    pub fn mac(&self, parts: &[&str]) -> [u8; 32] {
        // Keys of any length are valid, so the fallback is never reached; it reveals nothing.
        Hmac::<Sha256>::new_from_slice(&self.key)
            .map_or([0; 32], |mac| mac.chain_update(parts.join("\0")).finalize().into_bytes().into())
    }

    /// A hash that states which key it was computed with.
    pub fn label(&self, digest: &str) -> String {
        format!("{}-{digest}", self.id)
    }

    /// Whether `hash` was computed with this key. Otherwise another hash does not mean other values.
    pub fn made(&self, hash: &str) -> bool {
        hash.split_once('-').is_some_and(|(id, _)| id == self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_stored_and_read_again_but_never_printed() {
        let place = SecretName { namespace: "muster-system".into(), name: "muster-key".into() };
        let key = ReleaseKey::new([7; SIZE]);
        assert_eq!(ReleaseKey::read(&key.secret(&place), &place).unwrap(), key);
        let printed = format!("{key:?} {key:#?}");
        assert!(!printed.contains("7, 7") && !printed.contains("0707"), "{printed}");
        for data in [None, Some(vec![7; 31]), Some(vec![])] {
            let data = data.map(|entry| BTreeMap::from([(ENTRY.to_owned(), ByteString(entry))]));
            let error = ReleaseKey::read(&Secret { data, ..Secret::default() }, &place).unwrap_err().to_string();
            assert!(
                error.starts_with("the Secret muster-system/muster-key has no entry \"key\" of 32 bytes"),
                "{error}"
            );
        }
    }

    #[test]
    fn every_part_changes_a_hash_and_the_key_is_told_from_others() {
        let (key, other) = (ReleaseKey::new([1; SIZE]), ReleaseKey::new([2; SIZE]));
        assert!(key.made(&key.label("ab")) && !other.made(&key.label("ab")) && !key.made("ab"));
        let all = [key.mac(&["a", "b"]), key.mac(&["ab"]), key.mac(&["a", "c"]), other.mac(&["a", "b"])];
        assert!((1..all.len()).all(|n| !all[..n].contains(&all[n])));
        assert_ne!(ReleaseKey::random(), ReleaseKey::random());
    }
}

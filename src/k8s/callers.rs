//! Who calls the API, and what they may read: tokens and rights are those of Kubernetes, keys are Secrets.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::Secret,
};
use kube::{Api, api::PostParams};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    clock::Clock,
    k8s::cluster::{Cluster, Error},
};

/// The audience that a token must be for, so that a token that was made for something else opens nothing here.
pub const AUDIENCE: &str = "muster";
/// The type of a Secret with a key.
pub const KEY_TYPE: &str = "muster.dev/api-key";
/// The length of a key, in bytes.
const KEY_LENGTH: std::ops::RangeInclusive<usize> = 32..=256;

/// For how long an answer of the API server is used. A right that is taken away, or a key that is replaced, works for so
/// long.
const KNOWN: Duration = Duration::from_secs(10);
/// How many answers are kept of each kind.
const MOST: usize = 4096;

type Hashed = [u8; 32];

/// Cheap questions about callers.
#[derive(Debug)]
pub struct Callers {
    cluster: Cluster,
    tokens: Cache<Hashed, Option<Caller>>,
    rights: Cache<(String, Question), bool>,
    keys: Cache<(String, String), Option<Hashed>>,
}

/// A user of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub name: String,
    uid: Option<String>,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// What somebody wants to read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub namespace: String,
    pub resource: &'static str,
    pub subresource: &'static str,
    pub name: String,
}

impl Callers {
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster, tokens: Cache::default(), rights: Cache::default(), keys: Cache::default() }
    }

    /// Whose token it is. `None`: nobody's, expired, or not for this audience.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn caller(&self, token: &str) -> Result<Option<Caller>, Error> {
        let key = Sha256::digest(token).into();
        if let Some(known) = self.tokens.get(&key) {
            return Ok(known);
        }
        let spec = TokenReviewSpec { audiences: Some(vec![AUDIENCE.into()]), token: token.to_owned() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api = Api::<TokenReview>::all(self.cluster.client.clone());
        let params = PostParams::default();
        let answer = self.cluster.call("review a token", api.create(&params, &review)).await?;
        let status = answer.status.unwrap_or_default();
        // An API server that knows no audiences says nothing about them, and its tokens are for itself.
        let is_for_us = status.audiences.is_some_and(|audiences| audiences.iter().any(|audience| audience == AUDIENCE));
        let user = status.user.filter(|_| status.authenticated == Some(true) && is_for_us);
        let caller = user.and_then(|UserInfo { username, uid, groups, extra }| {
            let (groups, extra) = (groups.unwrap_or_default(), extra.unwrap_or_default());
            Some(Caller { name: username?, uid, groups, extra })
        });
        self.tokens.put(key, caller.clone());
        Ok(caller)
    }

    /// Whether `caller` may `get` it.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn may(&self, caller: &Caller, question: &Question) -> Result<bool, Error> {
        let Caller { name, uid, groups, extra } = caller.clone();
        let key = (format!("{name}\n{uid:?}\n{groups:?}\n{extra:?}"), question.clone());
        if let Some(known) = self.rights.get(&key) {
            return Ok(known);
        }
        let attributes = ResourceAttributes {
            group: Some("muster.dev".into()),
            namespace: Some(question.namespace.clone()),
            resource: Some(question.resource.into()),
            subresource: Some(question.subresource.into()),
            name: Some(question.name.clone()),
            verb: Some("get".into()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            user: Some(name),
            uid,
            groups: Some(groups),
            extra: Some(extra),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let api = Api::<SubjectAccessReview>::all(self.cluster.client.clone());
        let params = PostParams::default();
        let answer = self.cluster.call("review the rights of a caller", api.create(&params, &review)).await?;
        let allowed = answer.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        self.rights.put(key, allowed);
        Ok(allowed)
    }

    /// Whether `presented` is the key in one of these Secrets.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn opens(&self, presented: &str, namespace: &str, secrets: &[String]) -> Result<bool, Error> {
        let presented: Hashed = Sha256::digest(presented).into();
        let mut opens = false;
        // All are compared, and the hashes in constant time: how long it takes says nothing about a key.
        for name in secrets {
            let key = self.key(namespace, name).await?;
            opens |= key.is_some_and(|key| bool::from(key.ct_eq(&presented)));
        }
        Ok(opens)
    }

    /// The hash of the key in a Secret. `None` for a Secret that does not exist, is of another type, or has no proper key.
    async fn key(&self, namespace: &str, name: &str) -> Result<Option<Hashed>, Error> {
        let place = (namespace.to_owned(), name.to_owned());
        if let Some(known) = self.keys.get(&place) {
            return Ok(known);
        }
        let api = Api::<Secret>::namespaced(self.cluster.client.clone(), namespace);
        let secret = self.cluster.find(&api, name).await?;
        let secret = secret.filter(|secret| secret.type_.as_deref() == Some(KEY_TYPE));
        let key = secret.and_then(|secret| secret.data?.remove("key"));
        let key = key.filter(|key| KEY_LENGTH.contains(&key.0.len())).map(|key| Sha256::digest(key.0).into());
        self.keys.put(place, key);
        Ok(key)
    }
}

/// Answers that are used for a while.
#[derive(Debug)]
struct Cache<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, value) = all.get(key)?;
        (Clock.monotonic().saturating_duration_since(*at) < KNOWN).then(|| value.clone())
    }

    fn put(&self, key: K, value: V) {
        let now = Clock.monotonic();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, (at, _)| now.saturating_duration_since(*at) < KNOWN);
        }
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(key, (now, value));
    }
}

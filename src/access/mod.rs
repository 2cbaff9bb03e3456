//! Access to AWS: the AwsAccounts, their verified identities, and the only way to a [`Session`].

pub mod grants;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use sha2::{Digest, Sha256};

pub use crate::access::grants::{Claim, Permits};
use crate::{
    aws::{Aws, IamRole, RoleSession, Session},
    condition::Reason,
    crd::{
        aws_account::{AwsAccount, AwsAccountSpec},
        fields::{AwsRef, AwsStatus},
    },
    ids::{AccountId, Region, Uid},
    k8s::{
        changes::Changes,
        live::Live,
        object::Object,
        references::{References, is_synced},
    },
};

/// The known AwsAccounts, shared by all reconcilers. The reconcile of an AwsAccount adds it; it is removed when it is
/// deleted or when its role changes.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    entries: Arc<Mutex<HashMap<String, KnownAccount>>>,
    changes: Changes<String>,
    namespaces: Arc<OnceLock<Store<PartialObjectMeta<Namespace>>>>,
}

#[derive(Clone, Debug)]
struct KnownAccount {
    uid: Option<String>,
    spec: Arc<AwsAccountSpec>,
    state: State,
}

/// Keeps an AwsAccount known until it is dropped.
#[derive(Debug)]
pub struct Entry {
    accounts: Accounts,
    uid: Uid,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.accounts.remove(&self.uid);
    }
}

/// Whether the reconcile of the account could verify its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Proven(AccountId),
    Unproven(String),
}

impl Accounts {
    /// Watches namespaces, for grants that select them by label, until the future is dropped.
    pub async fn follow_namespaces(&self, client: Client) {
        let (reader, writer) = reflector::store();
        if self.namespaces.set(reader).is_err() {
            return;
        }
        let watch = watcher(Api::<PartialObjectMeta<Namespace>>::all(client), watcher::Config::default());
        reflector::reflector(writer, watch.default_backoff()).for_each(|_| async {}).await;
    }

    /// The names of the AwsAccounts that change.
    pub fn changes(&self) -> impl Stream<Item = HashSet<String>> + Send + use<> {
        self.changes.listen(Duration::ZERO)
    }

    pub fn set(&self, account: &AwsAccount, state: State) {
        let entry = KnownAccount { uid: account.uid(), spec: Arc::new(account.spec.clone()), state };
        let before = self.lock().insert(account.name_any(), entry.clone());
        if before.is_none_or(|before| before.spec != entry.spec || before.state != entry.state) {
            self.changes.tell(&account.name_any());
        }
    }

    /// Stores a new spec before its identity is verified, so that a removed grant is refused at once, whatever STS
    /// answers. The verified identity stays valid only for the same object with the same role.
    pub fn renew(&self, account: &AwsAccount) {
        let name = account.name_any();
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&name) else { return };
        let (old, new) = (&*entry.spec, &account.spec);
        if entry.uid != account.uid() || (&old.role_arn, &old.external_id) != (&new.role_arn, &new.external_id) {
            entries.remove(&name);
        } else if old != new {
            entry.spec = Arc::new(new.clone());
        } else {
            return;
        }
        drop(entries);
        self.changes.tell(&name);
    }

    /// Dropping the result makes the AwsAccount with this uid unusable.
    pub fn entry(&self, uid: &Uid) -> Entry {
        Entry { accounts: self.clone(), uid: uid.clone() }
    }

    /// By uid, since another AwsAccount may have the same name.
    fn remove(&self, uid: &Uid) {
        for (name, _) in self.lock().extract_if(|_, entry| entry.uid.as_deref() == Some(uid.as_str())) {
            self.changes.tell(&name);
        }
    }

    pub fn is_proven(&self, name: &str) -> bool {
        self.lock().get(name).is_some_and(|entry| matches!(entry.state, State::Proven(_)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, KnownAccount>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A namespace that is not known yet has no labels, so no label selector matches it.
    fn namespace<'a>(&self, name: &'a str) -> grants::Namespace<'a> {
        let found = self.namespaces.get().and_then(|store| store.get(&ObjectRef::new(name)));
        grants::Namespace { name, labels: found.map(|n| n.labels().clone()).unwrap_or_default() }
    }

    /// Whether `spec` grants anything to objects of `kind` in `namespace`. True as long as the labels of namespaces are
    /// not known.
    pub fn lets(&self, spec: &AwsAccountSpec, kind: &str, namespace: &str) -> bool {
        let by_label = spec.grants.iter().any(|grant| grant.namespaces.selector.is_some());
        (by_label && !self.namespaces.get().is_some_and(is_synced))
            || grants::check(&spec.grants, kind, &self.namespace(namespace), &[]).is_ok()
    }

    /// What `live` may use of `account`, by the grants as they are now.
    ///
    /// # Errors
    /// The AwsAccount was removed since the session was made.
    pub fn permits<'a, K: Object>(&self, live: &'a Live<K>, account: &'a str) -> Result<Permits<'a>, NoSession> {
        let spec = self.lock().get(account).map(|entry| entry.spec.clone());
        let spec = spec.ok_or_else(|| NoSession::NotYet(format!("AwsAccount {account}")))?;
        Ok(Permits { account, spec, kind: K::NAME, namespace: self.namespace(live.namespace()) })
    }

    /// The session for `live`. Without an account and a grant, no call is made. `pinned` is `status.aws` of the object:
    /// an account or region that differs from it is refused.
    ///
    /// # Errors
    /// See [`NoSession`]; a refusal names the line to add to the AwsAccount.
    pub async fn authorize<K: Object>(
        &self,
        aws: &Aws,
        references: &References,
        live: &Live<K>,
        aws_ref: &AwsRef,
        pinned: Option<&AwsStatus>,
        claims: &[Claim],
    ) -> Result<Session, NoSession> {
        let (namespace, name) = (live.namespace(), &aws_ref.account_ref.name);
        let not_ready = |message| NoSession::Missing { reason: Reason::AwsAccountNotReady, message };
        let refused = |reason, message| NoSession::Refused { reason, message };
        // After a start, the accounts are verified first. Reporting them as missing until then would be wrong, and
        // would make the conditions of every object flap at each restart.
        let not_yet = || NoSession::NotYet(format!("AwsAccount {name}"));
        let Some(object) = references.account(name).map_err(|_| not_yet())? else {
            return Err(NoSession::Missing {
                reason: Reason::AwsAccountNotFound,
                message: format!("AwsAccount {name} does not exist; create it, or change accountRef"),
            });
        };
        // An identity that was verified for a deleted object does not hold for another of the same name.
        let entry = self.lock().get(name).filter(|entry| entry.uid == object.uid()).cloned();
        let KnownAccount { spec, state, .. } = entry.ok_or_else(not_yet)?;
        let region = Region::try_from(aws_ref.region.as_str())
            .map_err(|error| NoSession::InvalidSpec(format!("aws.region: {error}")))?;
        if !spec.regions.contains(&aws_ref.region) {
            let message =
                format!("AwsAccount {name} does not list region {region}; add it to its spec.regions: [{region}]");
            return Err(refused(Reason::NotGranted, message));
        }
        if spec.grants.iter().any(|g| g.namespaces.selector.is_some()) && !self.namespaces.get().is_some_and(is_synced)
        {
            return Err(NoSession::NotYet(format!("Namespace {namespace}")));
        }
        let permits =
            Permits { account: name, spec: spec.clone(), kind: K::NAME, namespace: self.namespace(namespace) };
        permits.check(claims).map_err(|ungranted| refused(Reason::NotGranted, ungranted))?;
        // Suspending an account stops calls, and skips no check: what is not granted is not shown either.
        if spec.suspend {
            return Err(not_ready(format!("AwsAccount {name} is suspended (spec.suspend)")));
        }
        let account = match state {
            State::Proven(account) => account,
            State::Unproven(why) => return Err(not_ready(format!("AwsAccount {name} is not ready: {why}"))),
        };
        if let Some(pinned) = pinned
            && (pinned.account_id != account.as_str() || pinned.region != aws_ref.region)
        {
            let message = format!(
                "this object was created in account {} and region {}, but AwsAccount {name} is now account {account} \
                 and aws.region is {region}; restore them, or create a new object",
                pinned.account_id, pinned.region
            );
            return Err(refused(Reason::AccountChanged, message));
        }
        let role = role_session(&spec, namespace, &region);
        Ok(aws.session(account, region, role.as_ref()).await)
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum NoSession {
    /// This process has just started and has not read this object yet.
    #[error("{0} was not read yet")]
    NotYet(String),
    /// The AwsAccount does not exist, or its identity is not verified.
    #[error("{message}")]
    Missing { reason: Reason, message: String },
    /// The AwsAccount does not grant the request, or its account or region is not the pinned one.
    #[error("{message}")]
    Refused { reason: Reason, message: String },
    #[error("{0}")]
    InvalidSpec(String),
}

/// How `spec` assumes its role for `namespace`; `None` for the controller's own identity.
pub fn role_session(spec: &AwsAccountSpec, namespace: &str, region: &Region) -> Option<RoleSession> {
    Some(RoleSession {
        role: IamRole { arn: spec.role_arn.clone()?, external_id: spec.external_id.clone() },
        session_name: session_name(namespace),
        region: region.clone(),
    })
}

/// The limit of STS. The name of a namespace has up to 63 characters.
const SESSION_NAME: usize = 64;

/// The whole namespace or, where that is too long, its beginning and a hash of it. No namespace has a dot in its name,
/// so no other session has this name.
fn session_name(namespace: &str) -> String {
    let whole = format!("muster-{namespace}");
    if whole.len() <= SESSION_NAME {
        return whole;
    }
    let hash = hex::encode(&Sha256::digest(namespace)[..8]);
    let beginning: String = whole.chars().take(SESSION_NAME - hash.len() - 1).collect();
    format!("{beginning}.{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_namespaces_share_the_name_of_a_role_session() {
        assert_eq!(session_name("ml"), "muster-ml");
        let longest_whole = "a".repeat(57);
        assert_eq!(session_name(&longest_whole), format!("muster-{longest_whole}"));
        let long = ["x", "y"].map(|end| format!("{}{end}", "a".repeat(62)));
        let names = long.clone().map(|namespace| session_name(&namespace));
        assert_ne!(names[0], names[1]);
        for name in &names {
            assert_eq!(name.len(), SESSION_NAME, "{name}");
            // As the API server allows namespaces: no dot.
            assert!(name.contains('.') && name.starts_with("muster-aaaa"), "{name}");
        }
    }
}

//! The AwsAccounts as last seen, who they proved to be, and the one door to a [`Session`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
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
use tokio::sync::broadcast;

use super::{AwsAccount, AwsAccountSpec, grants};
use crate::{
    aws::{Identity, RoleSession, Session},
    condition::Reason,
    context::Context,
    fields::{AwsRef, AwsStatus},
    ids::{AccountId, Region, Uid},
    reconcile::Failure,
};

/// Shared by all reconcilers. An AwsAccount is here once its own reconcile has proven its identity, and goes when it is
/// deleted or loses it.
#[derive(Clone, Debug)]
pub struct Accounts {
    entries: Arc<Mutex<HashMap<String, Entry>>>,
    changes: broadcast::Sender<String>,
    namespaces: Arc<OnceLock<Store<PartialObjectMeta<Namespace>>>>,
}

#[derive(Clone, Debug)]
struct Entry {
    uid: Option<String>,
    spec: AwsAccountSpec,
    state: State,
}

/// What the account's own reconcile found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Proven(AccountId),
    Unproven(String),
}

impl Default for Accounts {
    fn default() -> Self {
        let (changes, _) = broadcast::channel(256);
        Self { entries: Arc::default(), changes, namespaces: Arc::default() }
    }
}

/// What an object is about to use in an account. What no grant names is refused before any call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    InstanceProfile(String),
    /// As the object refers to it: by name or by id.
    LaunchTemplate(String),
    Bucket(String),
    /// A path of Parameter Store, without a slash at its end.
    ParameterPath(String),
}

impl Accounts {
    /// Follows the namespaces, whose labels grants may select by, until the future is dropped.
    pub async fn follow_namespaces(&self, client: Client) {
        let (reader, writer) = reflector::store();
        if self.namespaces.set(reader).is_err() {
            return;
        }
        let watch = watcher(Api::<PartialObjectMeta<Namespace>>::all(client), watcher::Config::default());
        reflector::reflector(writer, watch.default_backoff()).for_each(|_| async {}).await;
    }

    /// The names of AwsAccounts, each time that something about one changed.
    pub fn changes(&self) -> impl Stream<Item = String> + Send + use<> {
        let accounts = self.clone();
        futures::stream::unfold(self.changes.subscribe(), move |mut changes| {
            let accounts = accounts.clone();
            async move {
                match changes.recv().await {
                    Ok(account) => Some((vec![account], changes)),
                    // Some were missed, so all may have changed.
                    Err(broadcast::error::RecvError::Lagged(_)) => Some((accounts.names(), changes)),
                    Err(broadcast::error::RecvError::Closed) => None,
                }
            }
        })
        .flat_map(futures::stream::iter)
    }

    fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub(super) fn set(&self, account: &AwsAccount, state: State) {
        let entry = Entry { uid: account.uid(), spec: account.spec.clone(), state };
        let before = self.lock().insert(account.name_any(), entry.clone());
        if before.is_none_or(|before| before.spec != entry.spec || before.state != entry.state) {
            // Nobody listening is fine.
            let _ = self.changes.send(account.name_any());
        }
    }

    /// Takes over a new spec before it is proven, so that what it no longer grants ends at once, whatever STS answers. An
    /// identity that was proven counts on only for the same object with the same role.
    pub(super) fn renew(&self, account: &AwsAccount) {
        let name = account.name_any();
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&name) else { return };
        if entry.uid != account.uid() || !entry.spec.is_same_identity(&account.spec) {
            entries.remove(&name);
        } else if entry.spec != account.spec {
            entry.spec = account.spec.clone();
        } else {
            return;
        }
        drop(entries);
        let _ = self.changes.send(name);
    }

    /// Forgets an AwsAccount that is gone; another of the same name stays.
    pub(super) fn remove(&self, uid: &Uid) {
        let mut entries = self.lock();
        let names: Vec<_> = entries.iter().filter(|(_, e)| e.uid.as_deref() == Some(uid.as_str())).collect();
        let names: Vec<String> = names.into_iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            entries.remove(&name);
            let _ = self.changes.send(name);
        }
    }

    pub(super) fn is_proven(&self, name: &str) -> bool {
        self.lock().get(name).is_some_and(|entry| matches!(entry.state, State::Proven(_)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows_namespaces(&self) -> bool {
        use futures::FutureExt;
        let synced = |store: &Store<_>| store.wait_until_ready().now_or_never().is_some_and(|ready| ready.is_ok());
        self.namespaces.get().is_some_and(synced)
    }

    /// The labels of a namespace; none when it is not known (yet), so that a label grant never covers too much.
    fn namespace<'a>(&self, name: &'a str) -> grants::Namespace<'a> {
        let found = self.namespaces.get().and_then(|store| store.get(&ObjectRef::new(name)));
        grants::Namespace { name, labels: found.map(|n| n.labels().clone()).unwrap_or_default() }
    }
}

/// The session for an object of kind `kind` in `namespace`. No account, no grant: no call.
///
/// `pinned` is `status.aws` of the object. An account or region that differs from it is refused.
///
/// # Errors
/// [`Failure::NotYet`] until the AwsAccount was looked at; [`Failure::Missing`] while it does not exist or has not proven
/// its identity; [`Failure::Refused`] when it does not grant what is asked, with the line to add, or when it is another
/// account than the pinned one.
pub async fn authorize(
    ctx: &Context,
    kind: &str,
    namespace: &str,
    aws: &AwsRef,
    pinned: Option<&AwsStatus>,
    claims: &[Claim],
) -> Result<Session, Failure> {
    let name = &aws.account_ref.name;
    let not_ready = |message| Failure::Missing { reason: Reason::AwsAccountNotReady, message };
    let refused = |reason, message| Failure::Refused { reason, message };
    // After a start the accounts are proven first. To say meanwhile that they are missing would be wrong, and would make
    // every object flap at each restart.
    let not_yet = || Failure::NotYet(format!("AwsAccount {name}"));
    let Some(object) = ctx.references.account(name).map_err(|_| not_yet())? else {
        return Err(Failure::Missing {
            reason: Reason::AwsAccountNotFound,
            message: format!("AwsAccount {name} does not exist; create it, or name another in accountRef"),
        });
    };
    // What was proven of an object that is gone says nothing about another of its name.
    let entry = ctx.accounts.lock().get(name).filter(|entry| entry.uid == object.uid()).cloned();
    let Entry { spec, state, .. } = entry.ok_or_else(not_yet)?;
    if spec.suspend {
        return Err(not_ready(format!("AwsAccount {name} is suspended (spec.suspend)")));
    }
    let region =
        Region::try_from(aws.region.as_str()).map_err(|error| Failure::InvalidSpec(format!("aws.region: {error}")))?;
    if !spec.regions.contains(&aws.region) {
        let message =
            format!("AwsAccount {name} does not list region {region}; add it to its spec.regions: [{region}]");
        return Err(refused(Reason::NotGranted, message));
    }
    if spec.grants.iter().any(|g| g.namespaces.selector.is_some()) && !ctx.accounts.knows_namespaces() {
        return Err(Failure::NotYet(format!("Namespace {namespace}")));
    }
    grants::check(&spec.grants, kind, &ctx.accounts.namespace(namespace), claims)
        .map_err(|ungranted| refused(Reason::NotGranted, format!("AwsAccount {name} {}", ungranted.0)))?;
    let account = match state {
        State::Proven(account) => account,
        State::Unproven(why) => return Err(not_ready(format!("AwsAccount {name} is not ready: {why}"))),
    };
    if let Some(pinned) = pinned
        && (pinned.account_id != account.as_str() || pinned.region != aws.region)
    {
        let message = format!(
            "this object began in account {} and region {}, and AwsAccount {name} now leads to account {account} and \
             region {region}; make a new object for the new place",
            pinned.account_id, pinned.region
        );
        return Err(refused(Reason::AccountChanged, message));
    }
    let role = spec.role_session(namespace, &region);
    Ok(ctx.aws.session(account, region, role.as_ref()).await)
}

impl AwsAccountSpec {
    fn is_same_identity(&self, other: &Self) -> bool {
        (&self.role_arn, &self.external_id) == (&other.role_arn, &other.external_id)
    }

    /// How the role is taken on for `namespace`; `None` for the controller's own identity.
    pub(super) fn role_session(&self, namespace: &str, region: &Region) -> Option<RoleSession> {
        Some(RoleSession {
            role_arn: self.role_arn.clone()?,
            external_id: self.external_id.clone(),
            // At most 64 characters (STS); names of namespaces have up to 63.
            session_name: format!("muster-{namespace}").chars().take(64).collect(),
            region: region.clone(),
        })
    }

    /// Whether `identity` is in the account that the role's ARN names.
    pub(super) fn expects(&self, identity: &Identity) -> Result<(), String> {
        let Some(role) = &self.role_arn else { return Ok(()) };
        match role.split(':').nth(4) {
            Some(account) if account == identity.account.as_str() => Ok(()),
            expected => Err(format!(
                "the role answers from account {}, not from {}",
                identity.account,
                expected.unwrap_or("the one in its ARN")
            )),
        }
    }
}

//! The context that all reconciles share.

use std::sync::Arc;

use kube::runtime::events::EventType;

use crate::{
    access::{Accounts, Claim},
    aws::{Aws, Session},
    clock::Clock,
    config::Config,
    crd::fields::{AwsRef, AwsStatus, CommonStatus},
    ids::AccountId,
    inventory::{instances::Sweeps, lookups::Lookups, published::Published, reporters::Reporters},
    k8s::{
        cluster::Cluster, events, live::Live, object::Object, references::References, release_key::ReleaseKey,
        sources::Watched,
    },
    lease::Leadership,
    metrics::Metrics,
    reconcile::{error_policy::Backoff, failure::Failure, requests::Requests},
};

/// How new the data of a reconcile must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Read after the reconcile has begun.
    Now,
    /// Read not long before.
    Soon,
    None,
}

#[derive(Clone)]
pub struct Context {
    pub cluster: Cluster,
    pub aws: Aws,
    /// The AwsAccounts and their grants.
    pub accounts: Accounts,
    pub references: References,
    /// The Secrets and ConfigMaps that are watched.
    pub watched: Watched,
    /// The instances of the last sweeps of EC2.
    pub sweeps: Arc<Sweeps>,
    /// The responses to other reads of AWS, shared by all objects.
    pub lookups: Arc<Lookups>,
    /// The instances with fresh reports.
    pub reporters: Reporters,
    pub published: Published,
    pub backoff: Arc<Backoff>,
    pub requests: Arc<Requests>,
    pub clock: Clock,
    pub leadership: Leadership,
    pub metrics: Arc<Metrics>,
    pub config: Arc<Config>,
    pub key: Arc<ReleaseKey>,
    /// Identifies this process: the name of the Pod and a random part.
    pub holder: Arc<str>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("holder", &self.holder).finish_non_exhaustive()
    }
}

impl Context {
    /// See [`Accounts::authorize`].
    pub async fn authorize<K: Object>(
        &self,
        live: &Live<K>,
        aws: &AwsRef,
        pinned: Option<&AwsStatus>,
        claims: &[Claim],
    ) -> Result<Session, Failure> {
        Ok(self.accounts.authorize(&self.aws, &self.references, live, aws, pinned, claims).await?)
    }

    /// The account that must own the bucket of `claim`: the one that the grant names, otherwise that of `session`.
    pub fn bucket_owner<K: Object>(
        &self,
        live: &Live<K>,
        aws: &AwsRef,
        session: &Session,
        claim: &Claim,
    ) -> Result<AccountId, Failure> {
        let permits = self.accounts.permits(live, &aws.account_ref.name)?;
        Ok(permits.bucket_owner(claim).unwrap_or_else(|| session.account.clone()))
    }

    /// Why data about `live` must be new. A request has been admitted already; an edit, also of an object that is being
    /// deleted, uses the rate of its namespace, because somebody may edit an object in a loop.
    pub fn demand<K: Object>(&self, live: &Live<K>) -> Demand {
        let observed = AsMut::<CommonStatus>::as_mut(&mut live.status()).observed_generation;
        let edited = observed != Some(live.generation()) || live.is_being_deleted();
        match (live.is_reconcile_requested(), edited) {
            (true, _) => Demand::Now,
            (false, true) if self.requests.wait(live.namespace()).is_none() => Demand::Now,
            (false, true) => Demand::Soon,
            (false, false) => Demand::None,
        }
    }

    /// Publishes a Kubernetes event about `live`.
    pub async fn event<K: Object>(&self, live: &Live<K>, type_: EventType, reason: &str, action: &str, note: String) {
        events::publish(&self.cluster, live, type_, reason, action, note).await;
    }
}

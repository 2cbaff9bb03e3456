//! Leader election: until when this process is certainly the only one that acts.
//!
//! The same scheme as in client-go: a Lease is acquired and renewed by PUT with its resourceVersion, and a candidate
//! acquires it only when the record has not changed for the duration of the lease *on its own monotonic clock*. No
//! clock of another computer is trusted. In addition, the write protocol needs the moment until which the lease is
//! certainly held, which client-go does not provide: no other replica can acquire it before a full duration after the
//! last renewal was *sent*.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::sync::watch;

use crate::{
    clock::{Clock, Timings},
    error_chain::Chain,
};

/// The annotation of the Lease with the address of the leader's API, to which the other replicas forward.
pub const ADDRESS: &str = "muster.dev/api-address";

/// The current state of the lease. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Held>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    No,
    Until(Instant),
    /// No lease is configured: there is no other replica.
    Alone,
}

impl Leadership {
    fn fixed(held: Held) -> Self {
        Self(watch::channel(held).1)
    }

    /// Not leading.
    pub fn none() -> Self {
        Self::fixed(Held::No)
    }

    /// Leading without a lease, forever.
    pub fn alone() -> Self {
        Self::fixed(Held::Alone)
    }

    /// Leading until `instant`.
    pub fn until(instant: Instant) -> Self {
        Self::fixed(Held::Until(instant))
    }

    /// The moment before which no other replica can have the lease; `None` when it is not held.
    pub fn held_until(&self) -> Option<Instant> {
        match *self.0.borrow() {
            Held::No => None,
            Held::Until(instant) => Some(instant),
            Held::Alone => Some(Clock.monotonic() + Duration::from_secs(86_400)),
        }
    }

    /// Whether no other replica can have the lease at `now`, also when its end was not noticed yet.
    pub fn is_held(&self, now: Instant) -> bool {
        self.held_until().is_some_and(|until| until > now)
    }

    /// Returns once the lease is held.
    pub async fn acquired(&self) {
        let mut held = self.0.clone();
        if held.wait_for(|held| *held != Held::No).await.is_err() {
            // The elector has ended, so the lease is never acquired.
            std::future::pending::<()>().await;
        }
    }
}

/// Takes part in the election until `shutdown`, then releases the lease so that another replica need not wait.
#[derive(Debug)]
pub struct Elector {
    api: Api<Lease>,
    name: LeaseName,
    holder: String,
    /// Of the API of this replica.
    address: Option<String>,
    timings: Timings,
    held: watch::Sender<Held>,
    /// The last observed record, and when it was first observed.
    observed: Option<(Lease, Instant)>,
}

/// The lease was lost. The process should exit: another replica may already act on the same objects.
#[derive(Debug, thiserror::Error)]
#[error("the lease {}/{} was lost", .0.namespace, .0.name)]
pub struct Lost(LeaseName);

impl Elector {
    pub fn new(
        client: Client,
        name: LeaseName,
        (holder, address): (String, Option<String>),
        timings: Timings,
    ) -> (Self, Leadership) {
        let (held, view) = watch::channel(Held::No);
        let api = Api::namespaced(client, &name.namespace);
        (Self { api, name, holder, address, timings, held, observed: None }, Leadership(view))
    }

    /// # Errors
    /// [`Lost`] when the lease was held and could not be renewed in time.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Lost> {
        tokio::pin!(shutdown);
        loop {
            let tried = tokio::time::timeout(self.timings.call_deadline, self.try_once());
            let outcome = tokio::select! {
                biased;
                () = &mut shutdown => break,
                outcome = tried => outcome,
            };
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %Chain(&error), lease = %self.name.name, "the lease was not renewed")
                }
                Err(_) => {
                    tracing::warn!(lease = %self.name.name, "the lease was not renewed: the API server did not answer in time")
                }
            }
            if let Held::Until(end) = *self.held.borrow()
                && Clock.monotonic() >= end
            {
                break;
            }
            tokio::select! {
                () = &mut shutdown => break,
                () = tokio::time::sleep(self.timings.lease / 6) => {}
            }
        }
        let was_held = matches!(*self.held.borrow(), Held::Until(end) if Clock.monotonic() < end);
        if was_held {
            self.release().await;
            return Ok(());
        }
        match self.held.send_replace(Held::No) {
            Held::No | Held::Alone => Ok(()),
            Held::Until(_) => Err(Lost(self.name)),
        }
    }

    /// Renews the lease, or acquires it if it is free.
    async fn try_once(&mut self) -> Result<(), kube::Error> {
        let sent = Clock.monotonic();
        let current = self.api.get_opt(&self.name.name).await?;
        let Some(current) = current else {
            let LeaseName { namespace, name } = self.name.clone();
            let metadata = ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() };
            let lease = self.signed(Lease { metadata, spec: Some(self.spec(None)) });
            return self.settle(sent, self.api.create(&PostParams::default(), &lease).await);
        };
        if !self.may_take(&current) {
            // Another replica has it, against the protocol: stop acting at once.
            self.held.send_if_modified(|held| match held {
                Held::Until(end) if *end > sent => {
                    *end = sent;
                    true
                }
                Held::Until(_) | Held::No | Held::Alone => false,
            });
            return Ok(());
        }
        let mut wanted = current.clone();
        wanted.spec = Some(self.spec(current.spec.as_ref()));
        let wanted = self.signed(wanted);
        let put = Clock.monotonic();
        self.settle(put, self.api.replace(&self.name.name, &PostParams::default(), &wanted).await)
    }

    /// Whether the lease is ours, released, or unchanged for its duration on our own clock.
    fn may_take(&mut self, current: &Lease) -> bool {
        let now = Clock.monotonic();
        let since = match &self.observed {
            Some((seen, since)) if seen.metadata.resource_version == current.metadata.resource_version => *since,
            _ => {
                self.observed = Some((current.clone(), now));
                now
            }
        };
        let spec = current.spec.as_ref();
        match spec.and_then(|s| s.holder_identity.as_deref()) {
            None | Some("") => true,
            Some(holder) if holder == self.holder => true,
            Some(_) => {
                let theirs = spec.and_then(|s| s.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
                let duration = theirs.map_or(self.timings.lease, |s| self.timings.lease.max(Duration::from_secs(s)));
                now.saturating_duration_since(since) >= duration
            }
        }
    }

    fn settle(&mut self, sent: Instant, answer: Result<Lease, kube::Error>) -> Result<(), kube::Error> {
        match answer {
            Ok(lease) => {
                self.observed = Some((lease, Clock.monotonic()));
                if self.held.send_replace(Held::Until(sent + self.timings.lease)) == Held::No {
                    tracing::info!(lease = %self.name.name, holder = %self.holder, "leading");
                }
                Ok(())
            }
            // Another replica was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.observed = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn release(&mut self) {
        self.held.send_replace(Held::No);
        let Some((mut lease, _)) = self.observed.take() else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
        }
        let params = PostParams::default();
        let released = self.api.replace(&self.name.name, &params, &lease);
        if !matches!(tokio::time::timeout(self.timings.call_deadline, released).await, Ok(Ok(_))) {
            tracing::warn!(lease = %self.name.name, "the lease was not released; other replicas wait until it expires");
        }
    }

    /// The lease with the address of this replica.
    fn signed(&self, mut lease: Lease) -> Lease {
        let annotations = lease.metadata.annotations.get_or_insert_default();
        match &self.address {
            Some(address) => annotations.insert(ADDRESS.into(), address.clone()),
            None => annotations.remove(ADDRESS),
        };
        lease
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(microsecond(Clock.now()));
        let ours = before.and_then(|b| b.holder_identity.as_deref()) == Some(&self.holder);
        let transitions = before.and_then(|b| b.lease_transitions).unwrap_or(0);
        let kept = before.filter(|_| ours).and_then(|b| b.acquire_time.clone());
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(self.timings.lease.as_secs_f64().ceil().max(1.0) as i32),
            acquire_time: Some(kept.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if ours || before.is_none() { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }
}

fn microsecond(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    pub namespace: String,
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_expired_during_a_pause_is_not_held() {
        let now = Instant::now();
        let leading = Leadership::until(now + Duration::from_secs(1));
        assert!(leading.is_held(now) && !leading.is_held(now + Duration::from_secs(1)));
        assert!(Leadership::alone().is_held(now) && !Leadership::none().is_held(now));
    }
}

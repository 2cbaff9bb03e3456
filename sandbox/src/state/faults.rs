//! Faults on request: what goes wrong, for which calls, how often.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::caller::AccountId;
use crate::duration::millis;
use crate::error::ApiError;

/// A fault and the calls that it applies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// `ec2`, `autoscaling`, `sns`, `sts`, `s3`, `ssm` or `cloudwatch`.
    pub service: String,
    /// `None`: every operation of the service.
    #[serde(default)]
    pub operation: Option<String>,
    #[serde(default)]
    pub account: Option<AccountId>,
    #[serde(default)]
    pub region: Option<String>,
    /// Parameters that must have these values, e.g. `SubnetId`, or `Key` for an S3 object.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// How many matching calls are served normally first.
    #[serde(default)]
    pub skip: u64,
    /// How many calls the fault applies to after that. `None`: all.
    #[serde(default)]
    pub count: Option<u64>,
    pub action: FaultAction,
}

impl Fault {
    /// Applies to the next call of an operation, once.
    pub fn once(service: &str, operation: &str, action: FaultAction) -> Self {
        Self { count: Some(1), ..Self::always(service, operation, action) }
    }

    /// Applies to every call of an operation.
    pub fn always(service: &str, operation: &str, action: FaultAction) -> Self {
        Self {
            service: service.to_owned(),
            operation: Some(operation.to_owned()),
            account: None,
            region: None,
            parameters: BTreeMap::new(),
            skip: 0,
            count: None,
            action,
        }
    }

    /// Applies to calls of this account only.
    pub fn account(mut self, account: &AccountId) -> Self {
        self.account = Some(account.clone());
        self
    }

    /// Serves the first calls normally.
    pub fn skip(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    pub fn count(mut self, calls: u64) -> Self {
        self.count = Some(calls);
        self
    }

    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.insert(name.to_owned(), value.to_owned());
        self
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum FaultAction {
    /// The call fails with this code and has no effect. Without `status`, the code's usual HTTP status is used.
    Error {
        code: String,
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        status: Option<u16>,
    },
    /// The connection is closed and the call has no effect.
    DropBefore,
    /// The call is carried out, then the connection is closed without an answer.
    DropAfter,
    /// The call takes this much longer (real time).
    Delay {
        #[serde(rename = "millis", with = "millis")]
        by: Duration,
    },
    /// The call waits until the fault is released or removed. It is carried out even if its caller hung up meanwhile.
    Hold { moment: Moment },
    /// This many bytes of the answer's body are sent, then the connection is closed.
    Truncate { bytes: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Moment {
    Before,
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultStatus {
    pub id: FaultId,
    pub fault: Fault,
    /// Matching calls so far, including those that were served normally.
    pub seen: u64,
    pub hits: u64,
    pub released: bool,
}

#[derive(Debug)]
pub(crate) struct Faults {
    entries: Mutex<Entries>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Entries {
    list: Vec<FaultStatus>,
    last_id: u64,
}

/// What a fault is matched against.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) service: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) account: Option<&'a AccountId>,
    pub(crate) region: &'a str,
    pub(crate) parameters: &'a BTreeMap<String, String>,
}

impl Target<'_> {
    fn is_hit_by(&self, fault: &Fault) -> bool {
        fault.service == self.service
            && fault.operation.as_deref().is_none_or(|operation| operation == self.operation)
            && fault.account.as_ref().is_none_or(|account| Some(account) == self.account)
            && fault.region.as_deref().is_none_or(|region| region == self.region)
            && fault.parameters.iter().all(|(name, value)| self.parameters.get(name) == Some(value))
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self { entries: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) -> FaultId {
        let mut entries = self.lock();
        entries.last_id += 1;
        let id = FaultId(entries.last_id);
        entries.list.push(FaultStatus { id, fault, seen: 0, hits: 0, released: false });
        id
    }

    pub(crate) fn list(&self) -> Vec<FaultStatus> {
        self.lock().list.clone()
    }

    pub(crate) fn release(&self, id: FaultId) {
        for entry in self.lock().list.iter_mut().filter(|entry| entry.id == id) {
            entry.released = true;
        }
        self.changed.send_modify(|n| *n += 1);
    }

    pub(crate) fn remove(&self, id: FaultId) {
        self.lock().list.retain(|entry| entry.id != id);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Removes all faults, which releases every held call.
    pub(crate) fn clear(&self) {
        self.lock().list.clear();
        self.changed.send_modify(|n| *n += 1);
    }

    /// Counts a call against every fault that matches it. The first fault that is due applies.
    pub(crate) fn take(&self, target: &Target<'_>) -> Option<(FaultId, FaultAction)> {
        let hit = {
            let mut hit = None;
            for entry in self.lock().list.iter_mut().filter(|entry| target.is_hit_by(&entry.fault)) {
                entry.seen += 1;
                let due = entry.seen > entry.fault.skip
                    && !entry.released
                    && entry.fault.count.is_none_or(|count| entry.hits < count);
                if due && hit.is_none() {
                    entry.hits += 1;
                    hit = Some((entry.id, entry.fault.action.clone()));
                }
            }
            hit
        };
        if hit.is_some() {
            self.changed.send_modify(|n| *n += 1);
        }
        hit
    }

    /// Waits until the fault is released or gone.
    pub(crate) async fn held(&self, id: FaultId) {
        self.wait(|list| list.iter().all(|entry| entry.id != id || entry.released)).await;
    }

    /// Waits until the fault was applied to this many calls.
    pub(crate) async fn wait_for_hits(&self, id: FaultId, hits: u64) {
        self.wait(|list| list.iter().any(|entry| entry.id == id && entry.hits >= hits)).await;
    }

    async fn wait(&self, done: impl Fn(&[FaultStatus]) -> bool) {
        let mut changed = self.changed.subscribe();
        while !done(&self.lock().list) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultAction {
    pub(crate) fn api_error(code: &str, message: Option<&str>, status: Option<u16>) -> ApiError {
        let message = message.map_or_else(|| format!("The sandbox was told to answer {code}."), str::to_owned);
        let error = ApiError::new(code, message);
        match status.and_then(|status| http::StatusCode::from_u16(status).ok()) {
            Some(status) => error.with_status(status),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(faults: &Faults, operation: &str, account: &AccountId) -> bool {
        let parameters = BTreeMap::new();
        let target =
            Target { service: "ec2", operation, account: Some(account), region: "eu-west-1", parameters: &parameters };
        faults.take(&target).is_some()
    }

    #[test]
    fn a_fault_spares_skips_and_stops() {
        let (one, two): (AccountId, AccountId) =
            ("111111111111".parse().expect("an id"), "222222222222".parse().expect("an id"));
        let faults = Faults::default();
        faults.add(Fault::always("ec2", "RunInstances", FaultAction::DropAfter).account(&one).skip(1).count(2));
        let calls = [
            ("RunInstances", &one, false),
            ("RunInstances", &two, false),
            ("TerminateInstances", &one, false),
            ("RunInstances", &one, true),
            ("RunInstances", &one, true),
            ("RunInstances", &one, false),
        ];
        for (index, (operation, account, hit)) in calls.into_iter().enumerate() {
            assert_eq!(take(&faults, operation, account), hit, "call {index}");
        }
        let status = &faults.list()[0];
        assert_eq!((status.seen, status.hits), (4, 2));
    }

    #[tokio::test]
    async fn a_held_call_goes_on_when_the_fault_is_removed() {
        let faults = Faults::default();
        let id = faults.add(Fault::once("ec2", "RunInstances", FaultAction::Hold { moment: Moment::Before }));
        let mut held = Box::pin(faults.held(id));
        assert!(futures::poll!(held.as_mut()).is_pending());
        faults.remove(id);
        held.await;
    }
}

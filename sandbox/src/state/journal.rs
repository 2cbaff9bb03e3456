//! Every call, for tests to assert on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::caller::AccountId;

/// One call: the request and the outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// Increases from 1 over the sandbox's lifetime, in the order of arrival.
    pub number: u64,
    pub service: String,
    pub operation: String,
    /// `None`: the credentials were refused.
    pub account: Option<AccountId>,
    pub region: String,
    pub principal_arn: Option<String>,
    pub access_key: String,
    /// The parameters as sent; long values are truncated.
    pub parameters: BTreeMap<String, String>,
    /// On the sandbox's clock.
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Still running, or held by a fault.
    Open,
    Ok,
    /// AWS's error code.
    Error(String),
    /// A fault closed the connection before the call was carried out.
    DroppedBefore,
    /// A fault closed the connection after the call was carried out.
    DroppedAfter,
}

/// What a query of the journal must match. The default matches every call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CallQuery {
    pub service: Option<String>,
    pub operation: Option<String>,
    pub account: Option<AccountId>,
    pub region: Option<String>,
    /// Only calls with a higher number.
    pub after: Option<u64>,
}

impl CallQuery {
    pub fn operation(service: &str, operation: &str) -> Self {
        Self { service: Some(service.to_owned()), operation: Some(operation.to_owned()), ..Self::default() }
    }

    pub fn account(mut self, account: &AccountId) -> Self {
        self.account = Some(account.clone());
        self
    }

    pub(crate) fn matches(&self, call: &Call) -> bool {
        let Self { service, operation, account, region, after } = self;
        service.as_ref().is_none_or(|service| *service == call.service)
            && operation.as_ref().is_none_or(|operation| *operation == call.operation)
            && account.as_ref().is_none_or(|account| Some(account) == call.account.as_ref())
            && region.as_ref().is_none_or(|region| *region == call.region)
            && after.is_none_or(|after| call.number > after)
    }
}

/// The oldest calls are dropped, so that a sandbox can run for days.
const KEPT: usize = 250_000;

#[derive(Debug)]
pub(crate) struct Journal {
    calls: Mutex<Calls>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Calls {
    /// Numbers `cleared + 1 ..`, without a gap.
    list: VecDeque<Call>,
    cleared: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { calls: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Journal {
    /// Writes down a call that has arrived. The number in `call` is replaced.
    pub(crate) fn begin(&self, mut call: Call) -> u64 {
        let number = {
            let mut calls = self.lock();
            call.number = calls.cleared + calls.list.len() as u64 + 1;
            let number = call.number;
            calls.list.push_back(call);
            if calls.list.len() > KEPT {
                calls.list.pop_front();
                calls.cleared += 1;
            }
            number
        };
        self.changed.send_modify(|n| *n += 1);
        number
    }

    pub(crate) fn end(&self, number: u64, at: Timestamp, outcome: Outcome) {
        {
            let mut calls = self.lock();
            let cleared = calls.cleared;
            // A call that was cleared away meanwhile is forgotten.
            let index = number.checked_sub(cleared + 1).and_then(|index| usize::try_from(index).ok());
            if let Some(call) = index.and_then(|index| calls.list.get_mut(index)) {
                call.ended = Some(at);
                call.outcome = outcome;
            }
        }
        self.changed.send_modify(|n| *n += 1);
    }

    pub(crate) fn find(&self, query: &CallQuery) -> Vec<Call> {
        self.lock().list.iter().filter(|call| query.matches(call)).cloned().collect()
    }

    /// The number of calls per `service:operation`.
    pub(crate) fn counts(&self, query: &CallQuery) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for call in self.lock().list.iter().filter(|call| query.matches(call)) {
            *counts.entry(format!("{}:{}", call.service, call.operation)).or_default() += 1;
        }
        counts
    }

    pub(crate) fn clear(&self) {
        let mut calls = self.lock();
        calls.cleared += calls.list.len() as u64;
        calls.list.clear();
    }

    /// Fires whenever a call begins or ends.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Topics and what was published to them. Nobody subscribes: tests read the messages through control.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::caller::AccountId;

/// How long a FIFO topic knows a deduplication id.
const DEDUPLICATION: SignedDuration = SignedDuration::from_mins(5);

/// Sequence numbers have twenty digits.
const FIRST_NUMBER: u64 = 10_000_000_000_000_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Topic {
    pub arn: String,
    pub fifo: bool,
    pub attributes: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    /// The oldest first.
    pub messages: Vec<Message>,
    #[serde(skip)]
    pub(crate) last_number: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    pub id: String,
    pub subject: Option<String>,
    pub message: String,
    /// By name: type and value.
    pub attributes: BTreeMap<String, (String, String)>,
    pub group_id: Option<String>,
    pub deduplication_id: Option<String>,
    /// Of FIFO topics.
    pub sequence_number: Option<String>,
    pub published: Timestamp,
}

impl Topic {
    pub(crate) fn is_content_deduplicated(&self) -> bool {
        self.attributes.get("ContentBasedDeduplication").is_some_and(|on| on == "true")
    }

    /// Takes a message. A FIFO topic gives the one that it has under the same deduplication id.
    pub(crate) fn publish(&mut self, mut message: Message) -> Message {
        let repeats = |known: &&Message| {
            message.deduplication_id.is_some()
                && known.deduplication_id == message.deduplication_id
                && message.published.duration_since(known.published) < DEDUPLICATION
        };
        if let Some(known) = self.messages.iter().rev().find(repeats).filter(|_| self.fifo) {
            return known.clone();
        }
        self.last_number += 1;
        let number = FIRST_NUMBER + self.last_number;
        message.sequence_number = self.fifo.then(|| format!("{number:020}"));
        self.messages.push(message.clone());
        message
    }
}

#[derive(Debug, Default)]
pub(crate) struct Sns {
    topics: Mutex<HashMap<(AccountId, String), BTreeMap<String, Topic>>>,
}

impl Sns {
    /// Works on the topics of an account in a region, by name.
    pub(crate) fn with<T>(
        &self,
        account: &AccountId,
        region: &str,
        work: impl FnOnce(&mut BTreeMap<String, Topic>) -> T,
    ) -> T {
        work(self.lock().entry((account.clone(), region.to_owned())).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(AccountId, String), BTreeMap<String, Topic>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An ARN of a topic: `arn:aws:sns:eu-west-1:111111111111:name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicArn<'a> {
    pub(crate) region: &'a str,
    pub(crate) account: AccountId,
    pub(crate) name: &'a str,
}

impl<'a> TopicArn<'a> {
    pub(crate) fn parse(arn: &'a str) -> Option<Self> {
        let mut parts = arn.strip_prefix("arn:aws:sns:")?.split(':');
        let (region, account, name) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { region, account: account.parse().ok()?, name }).filter(|_| parts.next().is_none())
    }
}

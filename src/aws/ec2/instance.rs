//! An instance as EC2 describes it, reduced to the fields that muster uses.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    aws::{Class, Error},
    ids::{ClientToken, InstanceId, LaunchTags, SubnetId},
    tags::{INDEXES_TAG, OWNER_TAGS, REVISION_TAG, ROLE_TAG},
};

/// A termination within this time is attributed to the launch. It is noticed a little late.
const AT_ONCE: Duration = Duration::from_mins(3);

/// The instances of a request by ids: `None` if EC2 answered that the id does not exist. An id that is not in the map
/// was not answered, which proves nothing.
pub type Described = BTreeMap<InstanceId, Option<Instance>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub id: InstanceId,
    pub state: InstanceState,
    pub subnet: Option<SubnetId>,
    pub zone: String,
    pub instance_type: String,
    pub launched_at: Option<Timestamp>,
    /// The client token of the launch, which may have been sent by others.
    pub client_token: String,
    /// The tags that start with `muster.dev:`; all tags if its token does not prove who launched it.
    pub tags: BTreeMap<String, String>,
    /// Its position among the instances of the same call, counted from 0.
    pub launch_index: u32,
    /// The code of the reason why it was terminated or stopped, like `Client.InstanceInitiatedShutdown`; else empty.
    pub state_reason: String,
    /// The message of the reason.
    pub state_reason_message: String,
}

impl Instance {
    /// The token that it was launched with, if it was launched with one.
    pub fn token(&self) -> Option<ClientToken> {
        ClientToken::try_from(self.client_token.as_str()).ok()
    }

    /// What its tags say about its launch now. Anyone who may tag instances can change that.
    pub fn tagged_as(&self) -> LaunchTags<'_> {
        let tag = |key| self.tags.get(key).map(String::as_str);
        LaunchTags {
            role: tag(ROLE_TAG).unwrap_or_default(),
            revision: tag(REVISION_TAG).unwrap_or_default(),
            indexes: tag(INDEXES_TAG),
        }
    }

    /// What its tags say about its launch, if its token proves that they said the same at its launch for `owner`, the tag
    /// `key=value` that names the owner.
    pub fn launched_as(&self, owner: &str) -> Option<LaunchTags<'_>> {
        let tags = self.tagged_as();
        self.token().is_some_and(|token| token.seals_tags(owner, tags)).then_some(tags)
    }

    /// The same for the owner that its tags name.
    pub fn launched_as_named(&self) -> Option<LaunchTags<'_>> {
        OWNER_TAGS.iter().find_map(|key| self.launched_as(&format!("{key}={}", self.tags.get(*key)?)))
    }

    /// What its termination says about the next launch. Source: `StateReason` in the EC2 API reference.
    pub fn refusal(&self, now: Timestamp) -> Option<Error> {
        let age = self.launched_at.map(|at| Duration::try_from(now.duration_since(at)).unwrap_or_default());
        if age.is_none_or(|age| age >= AT_ONCE) {
            return None;
        }
        let class = match self.state_reason.as_str() {
            "Server.InsufficientInstanceCapacity" => Class::NoCapacity,
            // A user or the instance itself requested it.
            "Client.UserInitiatedShutdown"
            | "Client.UserInitiatedHibernate"
            | "Client.InstanceInitiatedShutdown"
            | "Client.InstanceTerminated" => return None,
            code if code.starts_with("Client.") => Class::InvalidInput,
            _ => return None,
        };
        let message = format!("EC2 terminated {} right after its launch: {}", self.id, self.state_reason_message);
        Some(Error { operation: "ec2:RunInstances", class, code: self.state_reason.clone(), message })
    }
}

#[cfg(test)]
impl Instance {
    /// The `n`th instance of a test, with only a state.
    pub fn sample(n: u32, state: InstanceState) -> Self {
        Self {
            id: InstanceId::try_from(format!("i-{n:08x}")).unwrap(),
            state,
            subnet: None,
            zone: "eu-west-1a".into(),
            instance_type: "m6i.large".into(),
            launched_at: None,
            client_token: String::new(),
            tags: BTreeMap::new(),
            launch_index: 0,
            state_reason: String::new(),
            state_reason_message: String::new(),
        }
    }
}

/// The states of EC2 (`InstanceState` in its API reference).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceState {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

impl InstanceState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }

    /// Whether the state is final.
    pub fn is_over(self) -> bool {
        match self {
            Self::ShuttingDown | Self::Terminated => true,
            Self::Pending | Self::Running | Self::Stopping | Self::Stopped => false,
        }
    }

    pub fn is_stopped(self) -> bool {
        match self {
            Self::Stopping | Self::Stopped => true,
            Self::Pending | Self::Running | Self::ShuttingDown | Self::Terminated => false,
        }
    }
}

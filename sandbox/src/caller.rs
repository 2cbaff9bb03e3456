//! Who calls.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What access key ids of root users start with; the account id follows.
pub(crate) const ROOT_KEY_PREFIX: &str = "AKIASANDBOX";

/// An AWS account id: twelve digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);

impl AccountId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The owner of Amazon Linux images.
    pub(crate) fn amazon() -> Self {
        Self("137112412989".to_owned())
    }

    /// The access key id of this account's root user, by the sandbox's convention.
    pub fn root_access_key(&self) -> String {
        format!("{ROOT_KEY_PREFIX}{}", self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an AWS account ID: it must be twelve digits")]
pub struct InvalidAccountId(String);

impl TryFrom<String> for AccountId {
    type Error = InvalidAccountId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text))
        } else {
            Err(InvalidAccountId(text))
        }
    }
}

impl std::str::FromStr for AccountId {
    type Err = InvalidAccountId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<AccountId> for String {
    fn from(id: AccountId) -> Self {
        id.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identity behind an access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerId {
    pub account: AccountId,
    /// What GetCallerIdentity answers, e.g. `arn:aws:sts::111111111111:assumed-role/muster/session`.
    pub principal_arn: String,
    /// `AROA...:session` for a role, the account id for its root user.
    pub user_id: String,
    pub access_key: String,
}

impl CallerId {
    /// Whether a role stands behind it, so that to assume another one is role chaining.
    pub fn is_session(&self) -> bool {
        self.policy_arn() != self.principal_arn
    }

    /// The ARN that policies know: a session's role, or the principal itself.
    pub fn policy_arn(&self) -> String {
        let role = self
            .principal_arn
            .strip_prefix(&format!("arn:aws:sts::{}:assumed-role/", self.account))
            .and_then(|rest| rest.split_once('/'));
        match role {
            Some((role, _session)) => format!("arn:aws:iam::{}:role/{role}", self.account),
            None => self.principal_arn.clone(),
        }
    }
}

/// A caller as a service sees it: an identity and the region it signed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub id: CallerId,
    pub region: String,
}

//! Identities: root users by convention, roles made by tests, and the temporary credentials of role sessions.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::caller::{AccountId, CallerId, ROOT_KEY_PREFIX};
use crate::clock::wall_now;

/// A role and who may assume it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleSpec {
    pub account: AccountId,
    pub name: String,
    /// ARNs of users, roles and sessions; `arn:aws:iam::<account>:root` or an account ID for every principal in it; or
    /// `*`.
    pub allowed_principals: Vec<String>,
    #[serde(default)]
    pub external_id: Option<String>,
    /// Whether the trust policy allows `sts:TagSession` too.
    #[serde(default)]
    pub allow_session_tags: bool,
    #[serde(default = "one_hour")]
    pub max_session_seconds: u32,
    /// The actions that the policy of the role denies, like `ssm:GetParameter`, or `ec2:*` for all of a service. All
    /// others are allowed.
    #[serde(default)]
    pub denied_actions: Vec<String>,
}

fn one_hour() -> u32 {
    3600
}

impl RoleSpec {
    /// A role that every principal of its own account may assume.
    pub fn new(account: &AccountId, name: &str) -> Self {
        Self {
            account: account.clone(),
            name: name.to_owned(),
            allowed_principals: vec![account.to_string()],
            external_id: None,
            allow_session_tags: false,
            max_session_seconds: one_hour(),
            denied_actions: Vec::new(),
        }
    }

    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:role/{}", self.account, self.name)
    }

    pub(crate) fn trusts(&self, caller: &CallerId) -> bool {
        self.allowed_principals.iter().any(|allowed| {
            allowed == "*"
                || *allowed == caller.account.as_str()
                || *allowed == format!("arn:aws:iam::{}:root", caller.account)
                || *allowed == caller.principal_arn
                || *allowed == caller.policy_arn()
        })
    }
}

/// Temporary credentials. They end on the wall clock, since that is the clock by which SDKs renew them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    pub expiration: Timestamp,
    pub assumed_role_arn: String,
    pub assumed_role_id: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// Why credentials are refused. Each service has its own code for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    UnknownKey,
    WrongToken,
    Expired,
}

#[derive(Debug, Default)]
pub(crate) struct Accounts {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    roles: BTreeMap<(AccountId, String), (RoleSpec, String)>,
    sessions: HashMap<String, Session>,
    /// Access keys that were taken away.
    revoked: Vec<String>,
}

#[derive(Debug)]
struct Session {
    id: CallerId,
    token: String,
    expiration: Timestamp,
}

impl Accounts {
    pub(crate) fn authenticate(&self, access_key: &str, session_token: Option<&str>) -> Result<CallerId, Refusal> {
        let inner = self.lock();
        if inner.revoked.iter().any(|revoked| revoked == access_key) {
            return Err(Refusal::UnknownKey);
        }
        if let Some(digits) = access_key.strip_prefix(ROOT_KEY_PREFIX) {
            let account: AccountId = digits.parse().map_err(|_not_an_account| Refusal::UnknownKey)?;
            return Ok(CallerId {
                principal_arn: format!("arn:aws:iam::{account}:root"),
                user_id: account.to_string(),
                account,
                access_key: access_key.to_owned(),
            });
        }
        let session = inner.sessions.get(access_key).ok_or(Refusal::UnknownKey)?;
        if session_token != Some(session.token.as_str()) {
            return Err(Refusal::WrongToken);
        }
        if session.expiration <= wall_now() {
            return Err(Refusal::Expired);
        }
        Ok(session.id.clone())
    }

    /// Makes a role, or replaces its trust.
    pub(crate) fn put_role(&self, role: RoleSpec) {
        let mut inner = self.lock();
        let key = (role.account.clone(), role.name.clone());
        let id = inner.roles.get(&key).map_or_else(|| random_key("AROA"), |(_, id)| id.clone());
        inner.roles.insert(key, (role, id));
    }

    /// Removes a role and ends its sessions.
    pub(crate) fn delete_role(&self, account: &AccountId, name: &str) {
        let mut inner = self.lock();
        inner.roles.remove(&(account.clone(), name.to_owned()));
        let arn = format!("arn:aws:iam::{account}:role/{name}");
        inner.sessions.retain(|_, session| session.id.policy_arn() != arn);
    }

    pub(crate) fn role(&self, account: &AccountId, name: &str) -> Option<RoleSpec> {
        self.lock().roles.get(&(account.clone(), name.to_owned())).map(|(role, _)| role.clone())
    }

    /// Refuses an access key from now on, as if it had been deleted.
    pub(crate) fn revoke(&self, access_key: &str) {
        self.lock().revoked.push(access_key.to_owned());
    }

    pub(crate) fn restore(&self, access_key: &str) {
        self.lock().revoked.retain(|revoked| revoked != access_key);
    }

    /// Starts a session of a role, whether or not the role was made with [`Accounts::put_role`].
    pub(crate) fn start_session(
        &self,
        account: &AccountId,
        role: &str,
        session: &str,
        lasting: Duration,
    ) -> Credentials {
        let mut inner = self.lock();
        let key = (account.clone(), role.to_owned());
        let role_id = inner.roles.get(&key).map_or_else(|| random_key("AROA"), |(_, id)| id.clone());
        let id = CallerId {
            account: account.clone(),
            principal_arn: format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
            user_id: format!("{role_id}:{session}"),
            access_key: random_key("ASIA"),
        };
        let credentials = Credentials {
            access_key_id: id.access_key.clone(),
            secret_access_key: random_text(40),
            session_token: random_text(120),
            expiration: wall_now() + lasting,
            assumed_role_arn: id.principal_arn.clone(),
            assumed_role_id: id.user_id.clone(),
        };
        let session = Session { id, token: credentials.session_token.clone(), expiration: credentials.expiration };
        inner.sessions.insert(credentials.access_key_id.clone(), session);
        credentials
    }

    /// Whether a policy of the caller's role denies an action.
    pub(crate) fn is_denied(&self, caller: &CallerId, action: &str) -> bool {
        let inner = self.lock();
        let role = inner.roles.values().map(|(role, _)| role).find(|role| role.arn() == caller.policy_arn());
        let names = |denied: &String| match denied.strip_suffix('*') {
            Some(prefix) => action.starts_with(prefix),
            None => denied == action,
        };
        role.is_some_and(|role| role.denied_actions.iter().any(names))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A prefix and sixteen letters and digits, as AWS makes key ids.
fn random_key(prefix: &str) -> String {
    format!("{prefix}{}", random_text(16).to_ascii_uppercase())
}

fn random_text(length: usize) -> String {
    let mut text = String::with_capacity(length + 32);
    while text.len() < length {
        text.push_str(&uuid::Uuid::new_v4().simple().to_string());
    }
    text.truncate(length);
    text
}

//! AWS: the adapters. No SDK types leave this module.

pub mod advice;
pub mod cpu_samples;

pub mod autoscaling;
mod calls;
pub mod cloudwatch;
pub mod ec2;
mod error;
mod limits;
pub mod s3;
pub mod sns;
pub mod ssm;

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, SdkConfig, sts::AssumeRoleProvider};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::{
    Builder as HttpClientBuilder,
    tls::{self, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{http::SharedHttpClient, interceptors::Intercept};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use tokio::sync::Mutex;

pub use crate::aws::{
    error::{Class, Error},
    limits::{Bucket, Limits, NotNow, ParameterWriter, Permit},
};
use crate::{
    aws::calls::CallCounter,
    clock::Timings,
    crd::fields::AwsStatus,
    ids::{AccountId, Region},
    metrics::Metrics,
};

/// How AWS is reached. Tests set all fields; in production the SDK finds the credentials.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    pub endpoint_url: Option<String>,
    pub http_client: Option<SharedHttpClient>,
    pub credentials: Option<SharedCredentialsProvider>,
}

/// AWS with the identity of the controller itself. Kinds never get this; they get a [`Session`].
#[derive(Clone)]
pub struct Aws {
    base: SdkConfig,
    roles: Arc<Mutex<HashMap<RoleSession, SdkConfig>>>,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").finish_non_exhaustive()
    }
}

/// An IAM role to assume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IamRole {
    pub arn: String,
    pub external_id: Option<String>,
}

/// An assumed role for one namespace, so that CloudTrail shows the tenants separately.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleSession {
    pub role: IamRole,
    pub session_name: String,
    pub region: Region,
}

/// The session of calls whose answers several namespaces share. It is no name of a namespace, because it has a dot.
const SHARED_SESSION: &str = "muster.sweep";

/// Who asks, and where. IAM may show something else to another identity, so only sessions of the same identity share
/// answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionIdentity {
    account: AccountId,
    region: Region,
    /// `None` for the controller's own identity.
    role: Option<IamRole>,
}

#[cfg(test)]
impl SessionIdentity {
    pub(crate) fn of_test(account: &str, region: &str) -> Self {
        let (account, region) = (AccountId::try_from(account), Region::try_from(region));
        Self { account: account.expect("an account"), region: region.expect("a region"), role: None }
    }
}

/// One identity in one account and region, for one object that was granted it. Only `access` and `aws_account` make
/// one.
#[derive(Clone)]
pub struct Session {
    pub account: AccountId,
    pub region: Region,
    pub limits: Arc<Limits>,
    role: Option<IamRole>,
    config: SdkConfig,
    shared: SdkConfig,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} {})", self.account, self.region)
    }
}

/// The maximum time that a read waits for the rate limit of EC2.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(10);

impl Session {
    /// The account and region for a status.
    pub fn place(&self) -> AwsStatus {
        AwsStatus { account_id: self.account.to_string(), region: self.region.to_string() }
    }

    /// The key of caches that objects of several namespaces share.
    pub fn identity(&self) -> SessionIdentity {
        SessionIdentity { account: self.account.clone(), region: self.region.clone(), role: self.role.clone() }
    }

    /// The same identity in a role session of no namespace, for calls whose answers are shared.
    pub fn shared(&self) -> Self {
        Self { config: self.shared.clone(), ..self.clone() }
    }

    /// Waits until `deadline` for the rate limit to allow `calls` reads of EC2.
    pub(crate) async fn turn(&self, operation: &'static str, calls: u32, deadline: Instant) -> Result<Permit, Error> {
        self.turn_at(Bucket::Describe, operation, calls, deadline).await
    }

    /// Waits until `deadline` for the rate limit of `bucket` to allow `calls`.
    pub(crate) async fn turn_at(
        &self,
        bucket: Bucket,
        operation: &'static str,
        calls: u32,
        deadline: Instant,
    ) -> Result<Permit, Error> {
        let permit = self.limits.wait(&self.account, &self.region, bucket, calls, deadline);
        permit.await.map_err(|_| Error::not_sent(operation))
    }

    /// Takes `amount` from `bucket` without waiting.
    fn take(&self, operation: &'static str, bucket: Bucket, amount: u32) -> Result<Permit, Error> {
        let permit = self.limits.take(&self.account, &self.region, bucket, amount);
        permit.map_err(|_| Error::not_sent(operation))
    }

    /// For SDK clients in this module only.
    pub fn sdk(&self) -> &SdkConfig {
        &self.config
    }

    /// Every SDK client needs this, so that /metrics counts its calls.
    pub fn call_counter(&self) -> impl Intercept + use<> {
        CallCounter(self.metrics.clone())
    }

    /// For writes that the SDK must not repeat: the code that records the intent decides about a second attempt.
    pub fn sdk_single_attempt(&self) -> SdkConfig {
        self.config.to_builder().retry_config(RetryConfig::disabled()).build()
    }
}

/// Stops waiting for a call at its deadline. The call may have taken effect.
async fn within<T>(operation: &'static str, deadline: Duration, call: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(deadline, call).await.map_err(|_| Error::timed_out(operation))
}

fn https_client() -> SharedHttpClient {
    HttpClientBuilder::new().tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build_https()
}

/// An identity as AWS reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub account: AccountId,
    pub arn: String,
}

impl Aws {
    /// Finds the credentials of the controller as the AWS SDKs do: environment, web identity (IRSA), EKS Pod Identity,
    /// instance profile.
    pub async fn connect(connection: Connection, timings: &Timings, metrics: Arc<Metrics>) -> Self {
        // The SDK needs a default region; every session sets its own.
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(aws_config::Region::from_static("us-east-1"))
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5).min(timings.call_deadline))
                    .operation_timeout(timings.call_deadline)
                    .build(),
            );
        if let Some(url) = connection.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        // One connection pool for all clients; the SDK would create one for each client.
        loader = loader.http_client(connection.http_client.unwrap_or_else(https_client));
        if let Some(credentials) = connection.credentials {
            loader = loader.credentials_provider(credentials);
        }
        Self { base: loader.load().await, roles: Arc::default(), limits: Arc::default(), metrics }
    }

    /// The identity of `role`, or of the controller if there is no role. Calls STS each time.
    pub(crate) async fn identity(&self, role: Option<&RoleSession>, region: &Region) -> Result<Identity, Error> {
        const OPERATION: &str = "sts:GetCallerIdentity";
        if let Some(role) = role {
            self.assume(role).await?;
        }
        let answer = self.sts(role, region).await.get_caller_identity().send().await;
        let answer = answer.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        let account = AccountId::try_from(answer.account().unwrap_or_default());
        let account = account.map_err(|e| Error::garbled(OPERATION, e))?;
        Ok(Identity { account, arn: answer.arn().unwrap_or_default().to_owned() })
    }

    /// Assumes the role once, to get the error of STS, which the provider of the SDK hides.
    async fn assume(&self, role: &RoleSession) -> Result<(), Error> {
        let RoleSession { role: IamRole { arn, external_id }, session_name, region } = role;
        let call = self.sts(None, region).await.assume_role().role_arn(arn);
        let call = call.role_session_name(session_name).set_external_id(external_id.clone());
        call.send().await.map(drop).map_err(|e| Error::from_sdk("sts:AssumeRole", &e))
    }

    async fn sts(&self, role: Option<&RoleSession>, region: &Region) -> aws_sdk_sts::Client {
        let config = aws_sdk_sts::config::Builder::from(&self.config(role, region).await);
        aws_sdk_sts::Client::from_conf(config.interceptor(CallCounter(self.metrics.clone())).build())
    }

    /// A session in `account`. The caller must have verified that the identity is in this account.
    pub(crate) async fn session(&self, account: AccountId, region: Region, role: Option<&RoleSession>) -> Session {
        let config = self.config(role, &region).await;
        let shared = role.map(|role| RoleSession { session_name: SHARED_SESSION.into(), ..role.clone() });
        let shared = self.config(shared.as_ref(), &region).await;
        let role = role.map(|role| role.role.clone());
        Session { account, region, limits: self.limits.clone(), role, config, shared, metrics: self.metrics.clone() }
    }

    async fn config(&self, role: Option<&RoleSession>, region: &Region) -> SdkConfig {
        let region = aws_config::Region::new(region.to_string());
        let Some(role) = role else { return self.base.to_builder().region(region).build() };
        let mut roles = self.roles.lock().await;
        if let Some(config) = roles.get(role) {
            return config.clone();
        }
        let base = self.base.to_builder().region(region.clone()).build();
        let mut provider = AssumeRoleProvider::builder(&role.role.arn)
            .session_name(&role.session_name)
            .region(region)
            .configure(&base);
        if let Some(id) = &role.role.external_id {
            provider = provider.external_id(id);
        }
        let provider = SharedCredentialsProvider::new(provider.build().await);
        let config = base.to_builder().credentials_provider(provider).build();
        roles.insert(role.clone(), config.clone());
        config
    }
}

#[cfg(test)]
mod tests;

//! AWS: domain types in and out; SDK types stop here.

mod calls;
pub mod cloudwatch;
pub mod cpu;
pub mod ec2;
mod error;
mod limits;
pub mod s3;
pub mod ssm;
pub mod sweep;

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

use self::calls::CallCounter;
pub use self::{
    error::{Class, Error},
    limits::{Bucket, Limits, NotNow, ParameterWriter, Permit},
};
use crate::{
    clock::Timings,
    ids::{AccountId, Region},
    metrics::Metrics,
};

/// How AWS is reached. Tests set all of it; in production the SDK's own chain finds the credentials.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    pub endpoint_url: Option<String>,
    pub http_client: Option<SharedHttpClient>,
    pub credentials: Option<SharedCredentialsProvider>,
}

/// The way to AWS, as the controller's own identity. Kinds never hold this: they get a [`Session`].
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

/// A role taken on for one namespace, so that CloudTrail tells the tenants apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleSession {
    pub role_arn: String,
    pub external_id: Option<String>,
    pub session_name: String,
    pub region: Region,
}

/// One identity in one account and region, for one object that was granted it. Made only by `aws_account`.
#[derive(Clone)]
pub struct Session {
    pub account: AccountId,
    pub region: Region,
    pub limits: Arc<Limits>,
    config: SdkConfig,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} {})", self.account, self.region)
    }
}

/// For how long a look waits for the rate of EC2's reads.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(10);

impl Session {
    /// Waits until `deadline` for the turn of so many reads at EC2, as the account's rate allows them.
    pub(crate) async fn turn(&self, operation: &'static str, calls: u32, deadline: Instant) -> Result<Permit, Error> {
        let turn = self.limits.wait(&self.account, &self.region, Bucket::Describe, calls, deadline);
        turn.await.map_err(|_| Error::not_sent(operation))
    }

    /// For making SDK clients in the modules of this folder, and nowhere else.
    pub(in crate::aws) fn sdk(&self) -> &SdkConfig {
        &self.config
    }

    /// To be given to every SDK client, so that its calls are in /metrics.
    pub(in crate::aws) fn call_counter(&self) -> impl Intercept + use<> {
        CallCounter(self.metrics.clone())
    }

    /// The same for writes that may be sent only once by the SDK: whoever records intents decides about a second attempt.
    pub(in crate::aws) fn sdk_single_attempt(&self) -> SdkConfig {
        self.config.to_builder().retry_config(RetryConfig::disabled()).build()
    }
}

fn https_client() -> SharedHttpClient {
    HttpClientBuilder::new().tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build_https()
}

/// An identity as AWS itself names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub account: AccountId,
    pub arn: String,
}

impl Aws {
    /// Finds the controller's own credentials as the AWS SDKs do: environment, web identity (IRSA), EKS Pod Identity,
    /// instance profile.
    pub async fn connect(connection: Connection, timings: &Timings, metrics: Arc<Metrics>) -> Self {
        // The SDK wants some region before one is named; every session names its own.
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
        // One warm pool of connections for all clients; the SDK would make one for each of them.
        loader = loader.http_client(connection.http_client.unwrap_or_else(https_client));
        if let Some(credentials) = connection.credentials {
            loader = loader.credentials_provider(credentials);
        }
        Self { base: loader.load().await, roles: Arc::default(), limits: Arc::default(), metrics }
    }

    /// Who `role` really is, or the controller itself where there is no role. Asks STS each time.
    pub(crate) async fn identity(&self, role: Option<&RoleSession>, region: &Region) -> Result<Identity, Error> {
        const OPERATION: &str = "sts:GetCallerIdentity";
        if let Some(role) = role {
            self.assume(role).await?;
        }
        let answer = self
            .sts(role, region)
            .await
            .get_caller_identity()
            .send()
            .await
            .map_err(|e| Error::from_sdk(OPERATION, &e))?;
        let garbled = |message: String| Error {
            operation: OPERATION,
            class: Class::Transient,
            code: "BadResponse".into(),
            message,
        };
        let account = AccountId::try_from(answer.account().unwrap_or_default()).map_err(|e| garbled(e.to_string()))?;
        Ok(Identity { account, arn: answer.arn().unwrap_or_default().to_owned() })
    }

    /// Takes the role on once, for the plain answer that the SDK's own provider buries when it fails.
    async fn assume(&self, role: &RoleSession) -> Result<(), Error> {
        self.sts(None, &role.region)
            .await
            .assume_role()
            .role_arn(&role.role_arn)
            .role_session_name(&role.session_name)
            .set_external_id(role.external_id.clone())
            .send()
            .await
            .map(drop)
            .map_err(|e| Error::from_sdk("sts:AssumeRole", &e))
    }

    async fn sts(&self, role: Option<&RoleSession>, region: &Region) -> aws_sdk_sts::Client {
        let config = aws_sdk_sts::config::Builder::from(&self.config(role, region).await);
        aws_sdk_sts::Client::from_conf(config.interceptor(CallCounter(self.metrics.clone())).build())
    }

    /// A session in `account`. That the identity is really of this account is for the caller to have seen.
    pub(crate) async fn session(&self, account: AccountId, region: Region, role: Option<&RoleSession>) -> Session {
        let config = self.config(role, &region).await;
        Session { account, region, limits: self.limits.clone(), config, metrics: self.metrics.clone() }
    }

    async fn config(&self, role: Option<&RoleSession>, region: &Region) -> SdkConfig {
        let region = aws_config::Region::new(region.to_string());
        let Some(role) = role else { return self.base.to_builder().region(region).build() };
        let mut roles = self.roles.lock().await;
        if let Some(config) = roles.get(role) {
            return config.clone();
        }
        let base = self.base.to_builder().region(region.clone()).build();
        let mut provider = AssumeRoleProvider::builder(&role.role_arn)
            .session_name(&role.session_name)
            .region(region)
            .configure(&base);
        if let Some(id) = &role.external_id {
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

//! The facts of this instance, from the instance metadata service (version 2 only) and the kernel.

use std::path::{Path, PathBuf};

use aws_config::imds::client::Client;
use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use jiff::Timestamp;
use serde::Deserialize;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub instance_id: String,
    pub instance_type: String,
    pub life_cycle: LifeCycle,
    pub region: String,
    pub account: String,
    pub booted: Timestamp,
    /// The Name tag, if the instance metadata contains tags.
    pub name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifeCycle {
    Spot,
    OnDemand,
}

impl LifeCycle {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::OnDemand => "ondemand",
        }
    }

    /// EC2 also knows `scheduled` and `capacity-block`: these are paid in advance, and EC2 does not interrupt them like spot.
    fn parse(text: &str) -> Self {
        if text.trim() == "spot" { Self::Spot } else { Self::OnDemand }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error(
        "cannot read {path} from the instance metadata service (it requires an EC2 instance with the metadata endpoint \
         enabled; in a container, a hop limit of 2)"
    )]
    Metadata { path: &'static str, source: Box<ImdsError> },
    #[error("the instance metadata service responds with {status} to {path}")]
    Answer { path: &'static str, status: u16 },
    #[error("the instance identity document is invalid")]
    Document(#[source] serde_json::Error),
    #[error("the instance identity document names {0:?}, which is not an instance id")]
    InstanceId(String),
    #[error("cannot read the boot time from {}", path.display())]
    ReadBoot { path: PathBuf, source: std::io::Error },
    #[error("{} has no line `btime <seconds>`", path.display())]
    NoBoot { path: PathBuf },
}

impl Instance {
    pub fn arn(&self) -> String {
        let Self { region, account, instance_id, .. } = self;
        let partition = match region {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        format!("arn:{partition}:ec2:{region}:{account}:instance/{instance_id}")
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityDocument {
    instance_id: String,
    instance_type: String,
    region: String,
    account_id: String,
}

/// Reads the facts of the instance that the agent runs on.
#[derive(Debug)]
pub struct InstanceReader {
    imds: Client,
    stat: PathBuf,
}

impl InstanceReader {
    /// Honours `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub fn new(config: &ProviderConfig, proc: &Path) -> Self {
        Self { imds: Client::builder().configure(config).build(), stat: proc.join("stat") }
    }

    pub async fn read(&self) -> Result<Instance, InstanceError> {
        let document = self.get("/latest/dynamic/instance-identity/document").await?;
        let document: IdentityDocument = serde_json::from_str(&document).map_err(InstanceError::Document)?;
        if !is_instance_id(&document.instance_id) {
            return Err(InstanceError::InstanceId(document.instance_id));
        }
        let life_cycle = self.get("/latest/meta-data/instance-life-cycle").await?;
        let name = self.find("/latest/meta-data/tags/instance/Name").await?;
        Ok(Instance {
            instance_id: document.instance_id,
            instance_type: document.instance_type,
            life_cycle: LifeCycle::parse(&life_cycle),
            region: document.region,
            account: document.account_id,
            booted: self.booted().await?,
            name: name.filter(|name| !name.is_empty()),
        })
    }

    async fn get(&self, path: &'static str) -> Result<String, InstanceError> {
        self.imds.get(path).await.map(|text| text.as_ref().to_owned()).map_err(|error| refused(path, error))
    }

    /// None if the service has no such value.
    async fn find(&self, path: &'static str) -> Result<Option<String>, InstanceError> {
        match self.get(path).await {
            Err(InstanceError::Answer { status: 404, .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    async fn booted(&self) -> Result<Timestamp, InstanceError> {
        let path = || self.stat.clone();
        let stat = tokio::fs::read_to_string(&self.stat)
            .await
            .map_err(|source| InstanceError::ReadBoot { path: path(), source })?;
        boot_time(&stat).ok_or_else(|| InstanceError::NoBoot { path: path() })
    }
}

fn refused(path: &'static str, error: ImdsError) -> InstanceError {
    match error {
        ImdsError::ErrorResponse(error) => InstanceError::Answer { path, status: error.response().status().as_u16() },
        other => InstanceError::Metadata { path, source: other.into() },
    }
}

/// The ID becomes part of a key in the bucket.
fn is_instance_id(text: &str) -> bool {
    text.strip_prefix("i-")
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn boot_time(stat: &str) -> Option<Timestamp> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Timestamp::from_second(seconds.trim().parse().ok()?).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use rstest::rstest;

    use super::*;

    pub(crate) fn instance() -> Instance {
        Instance {
            instance_id: "i-0123456789abcdef0".into(),
            instance_type: "m6i.large".into(),
            life_cycle: LifeCycle::OnDemand,
            region: "ap-northeast-1".into(),
            account: "111111111111".into(),
            booted: Timestamp::from_second(1_767_225_600).unwrap(),
            name: None,
        }
    }

    #[rstest]
    #[case("eu-west-1", "arn:aws:ec2:eu-west-1:111111111111:instance/i-0123456789abcdef0")]
    #[case("cn-north-1", "arn:aws-cn:ec2:cn-north-1:111111111111:instance/i-0123456789abcdef0")]
    #[case("us-gov-west-1", "arn:aws-us-gov:ec2:us-gov-west-1:111111111111:instance/i-0123456789abcdef0")]
    fn the_arn_has_the_partition_of_the_region(#[case] region: &str, #[case] expected: &str) {
        assert_eq!(Instance { region: region.into(), ..instance() }.arn(), expected);
    }

    #[rstest]
    #[case("i-0123456789abcdef0", true)]
    #[case("i-1a2b3c4d", true)]
    #[case("i-", false)]
    #[case("../../other", false)]
    #[case("<html>", false)]
    fn instance_ids_are_validated(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_instance_id(text), expected);
    }

    #[rstest]
    #[case("spot", "spot")]
    #[case("spot\n", "spot")]
    #[case("on-demand", "ondemand")]
    #[case("capacity-block", "ondemand")]
    fn the_life_cycle_is_parsed(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(LifeCycle::parse(text).as_str(), expected);
    }

    #[rstest]
    #[case("cpu 1 2\nbtime 1767225600\nprocesses 5\n", Some(1_767_225_600))]
    #[case("cpu 1 2\n", None)]
    #[case("btime soon\n", None)]
    fn the_boot_time_is_read_from_the_kernel(#[case] stat: &str, #[case] expected: Option<i64>) {
        assert_eq!(boot_time(stat).map(Timestamp::as_second), expected);
    }
}

//! Launch templates with all their versions, and the calls that change them.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_ec2::types::{
    DeleteLaunchTemplateVersionsResponseErrorItem, Filter, LaunchTemplate as SdkTemplate,
    LaunchTemplateBlockDeviceMapping, LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateEbsBlockDeviceRequest,
    LaunchTemplateVersion, RequestLaunchTemplateData, Tag,
};
use jiff::Timestamp;

use crate::{
    aws::{
        Bucket, Class, Error, LONGEST_WAIT,
        ec2::{Ec2, PAGE},
        within,
    },
    clock::Clock,
    crd::launch_template_pin::PinIntent,
    ids::LaunchTemplateId,
    write_ahead::Acknowledged,
};

const DESCRIBE: &str = "ec2:DescribeLaunchTemplates";
const VERSIONS: &str = "ec2:DescribeLaunchTemplateVersions";
const IMAGES: &str = "ec2:DescribeImages";
const CREATE: &str = "ec2:CreateLaunchTemplateVersion";
/// The largest page of both.
pub const TEMPLATES_PER_PAGE: i32 = 200;
/// The tags by which EC2 says from which version an instance was launched.
const VERSION_TAG: &str = "aws:ec2launchtemplate:version";
const TEMPLATE_TAG: &str = "aws:ec2launchtemplate:id";

/// A launch template as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateHead {
    pub id: LaunchTemplateId,
    pub name: String,
    pub latest: i64,
    pub default: i64,
    pub tags: BTreeMap<String, String>,
}

/// A version of a launch template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRow {
    pub version: i64,
    pub description: String,
    /// As the version has it: an id, or `resolve:ssm:` and the name of a parameter.
    pub image: Option<String>,
    pub created_at: Option<Timestamp>,
}

/// What became of the deletion of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    Gone,
    /// In the words of EC2.
    Refused(String),
}

impl Ec2 {
    /// All launch templates.
    pub async fn launch_templates(&self) -> Result<Vec<TemplateHead>, Error> {
        let pages = self.client.describe_launch_templates().max_results(TEMPLATES_PER_PAGE);
        let mut rows = pages.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(row) = rows.next().await {
            found.extend(head(&row.map_err(|e| Error::from_sdk(DESCRIBE, &e).of_nothing_named())?));
        }
        Ok(found)
    }

    /// The launch template with this id.
    ///
    /// # Errors
    /// [`Class::NotFound`] if there is none.
    pub async fn template_head(&self, id: &LaunchTemplateId) -> Result<TemplateHead, Error> {
        let _permit = self.session.turn(DESCRIBE, 1, Clock.monotonic() + LONGEST_WAIT).await?;
        let call = self.client.describe_launch_templates().launch_template_ids(id.as_str());
        let answer = call.send().await.map_err(|e| Error::from_sdk(DESCRIBE, &e))?;
        answer.launch_templates().first().and_then(head).ok_or_else(|| {
            Error::not_found(DESCRIBE, "InvalidLaunchTemplateId.NotFound", format!("{id} does not exist"))
        })
    }

    /// All versions of a launch template, the newest first.
    pub async fn template_versions(&self, id: &LaunchTemplateId) -> Result<Vec<VersionRow>, Error> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let _permit = self.session.turn(VERSIONS, 1, Clock.monotonic() + LONGEST_WAIT).await?;
            let call = self.client.describe_launch_template_versions().launch_template_id(id.as_str());
            let call = call.max_results(TEMPLATES_PER_PAGE).set_next_token(token);
            let answer = call.send().await.map_err(|e| Error::from_sdk(VERSIONS, &e))?;
            found.extend(answer.launch_template_versions().iter().filter_map(version_row));
            token = answer.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        found.sort_by_key(|row| std::cmp::Reverse(row.version));
        Ok(found)
    }

    /// The versions of a launch template that instances were launched from which are not terminated.
    pub async fn versions_in_use(&self, id: &LaunchTemplateId) -> Result<Vec<i64>, Error> {
        const OPERATION: &str = "ec2:DescribeInstances";
        let of_template = Filter::builder().name(format!("tag:{TEMPLATE_TAG}")).values(id.as_str()).build();
        let states = ["pending", "running", "stopping", "stopped", "shutting-down"].map(String::from).to_vec();
        let state = Filter::builder().name("instance-state-name").set_values(Some(states)).build();
        let _permit = self.session.turn(OPERATION, 1, Clock.monotonic() + LONGEST_WAIT).await?;
        let call = self.client.describe_instances().filters(of_template).filters(state).max_results(PAGE);
        let mut pages = call.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| Error::from_sdk(OPERATION, &e).of_nothing_named())?;
            let instances = page.reservations().iter().flat_map(|r| r.instances());
            let tags = instances.flat_map(|i| i.tags()).filter(|tag| tag.key() == Some(VERSION_TAG));
            found.extend(tags.filter_map(|tag| tag.value()?.parse::<i64>().ok()));
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Makes the version of `intent`: its source with another image. A version inherits everything but what it names, and
    /// block devices lose their snapshots unless they are named again, so then all of them are. Only the root device gets
    /// the snapshot of the new image. Returns the number of the version, and what EC2 warns of.
    pub async fn create_template_version(
        &self,
        id: &LaunchTemplateId,
        description: &str,
        intent: &Acknowledged<PinIntent>,
        budget: Duration,
    ) -> Result<(i64, Vec<String>), Error> {
        let PinIntent { nonce, version: source, image_id, .. } = intent.intent();
        // All calls together end within the budget.
        let end = Clock.monotonic() + budget;
        let left = || end.saturating_duration_since(Clock.monotonic());
        let source = source.unwrap_or_default().to_string();
        let call = self.once.describe_launch_template_versions().launch_template_id(id.as_str()).versions(&source);
        let sources = within(VERSIONS, left(), call.send()).await?.map_err(|e| Error::from_sdk(VERSIONS, &e))?;
        let data = sources.launch_template_versions().first().and_then(|row| row.launch_template_data());
        let devices = data.map(|data| data.block_device_mappings()).unwrap_or_default();
        let has_snapshot =
            |device: &LaunchTemplateBlockDeviceMapping| device.ebs().is_some_and(|ebs| ebs.snapshot_id().is_some());
        let named = match devices.iter().any(has_snapshot) {
            false => None,
            true => {
                let images =
                    self.once.describe_images().set_image_ids(image_id.as_ref().map(|id| vec![id.to_string()]));
                let images = within(IMAGES, left(), images.send()).await?.map_err(|e| Error::from_sdk(IMAGES, &e))?;
                let root = images.images().first().and_then(|image| image.root_device_name());
                Some(devices.iter().map(|row| device(row, root)).collect())
            }
        };
        let data = RequestLaunchTemplateData::builder()
            .set_image_id(image_id.as_ref().map(ToString::to_string))
            .set_block_device_mappings(named)
            .build();
        let call = self
            .once
            .create_launch_template_version()
            .client_token(nonce)
            .launch_template_id(id.as_str())
            .source_version(source)
            .version_description(description)
            .launch_template_data(data);
        let answer = within(CREATE, left(), Box::pin(call.send())).await?.map_err(|e| Error::from_sdk(CREATE, &e))?;
        let warnings = answer.warning().map(|warning| warning.errors()).unwrap_or_default();
        let told = |error: &aws_sdk_ec2::types::ValidationError| {
            format!("{}: {}", error.code().unwrap_or_default(), error.message().unwrap_or_default())
        };
        let made = answer.launch_template_version().and_then(|made| made.version_number());
        let made = made.ok_or_else(|| Error::garbled(CREATE, "a version without a number"))?;
        Ok((made, warnings.iter().map(told).collect()))
    }

    /// Makes the version of `intent` the default. Idempotent.
    pub async fn set_default_version(
        &self,
        id: &LaunchTemplateId,
        intent: &Acknowledged<PinIntent>,
        budget: Duration,
    ) -> Result<(), Error> {
        const OPERATION: &str = "ec2:ModifyLaunchTemplate";
        let version = intent.intent().version.unwrap_or_default();
        let call = self.once.modify_launch_template().launch_template_id(id.as_str());
        let call = call.default_version(version.to_string()).send();
        within(OPERATION, budget, call).await?.map(drop).map_err(|e| Error::from_sdk(OPERATION, &e))
    }

    /// Deletes the versions of `intent`. EC2 answers for each one: the response is a success even if all are refused.
    pub async fn delete_template_versions(
        &self,
        id: &LaunchTemplateId,
        intent: &Acknowledged<PinIntent>,
        budget: Duration,
    ) -> Result<BTreeMap<i64, Deleted>, Error> {
        const OPERATION: &str = "ec2:DeleteLaunchTemplateVersions";
        let versions = intent.intent().versions.iter().map(ToString::to_string).collect();
        let call = self.once.delete_launch_template_versions().launch_template_id(id.as_str());
        let answer = within(OPERATION, budget, call.set_versions(Some(versions)).send()).await?;
        let answer = answer.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        let gone = answer.successfully_deleted_launch_template_versions().iter();
        let gone = gone.filter_map(|row| Some((row.version_number()?, Deleted::Gone)));
        let refused = answer.unsuccessfully_deleted_launch_template_versions().iter();
        Ok(gone.chain(refused.filter_map(|row| Some((row.version_number()?, refusal(row))))).collect())
    }

    /// Sets a tag of the launch template. Idempotent.
    pub async fn tag_template(&self, id: &LaunchTemplateId, key: &str, value: &str) -> Result<(), Error> {
        let _permit = self.session.take("ec2:CreateTags", Bucket::CreateTags, 1)?;
        let tag = Tag::builder().key(key).value(value).build();
        let call = self.client.create_tags().resources(id.as_str()).tags(tag).send();
        call.await.map(drop).map_err(|e| Error::from_sdk("ec2:CreateTags", &e))
    }

    /// Removes a tag of the launch template if it has this value. Idempotent.
    pub async fn untag_template(&self, id: &LaunchTemplateId, key: &str, value: &str) -> Result<(), Error> {
        let _permit = self.session.take("ec2:DeleteTags", Bucket::CreateTags, 1)?;
        let tag = Tag::builder().key(key).value(value).build();
        let call = self.client.delete_tags().resources(id.as_str()).tags(tag).send();
        match call.await.map_err(|e| Error::from_sdk("ec2:DeleteTags", &e)) {
            Err(error) if error.class == Class::NotFound => Ok(()),
            answer => answer.map(drop),
        }
    }
}

fn refusal(row: &DeleteLaunchTemplateVersionsResponseErrorItem) -> Deleted {
    let error = row.response_error();
    let code = error.and_then(|error| error.code()).map(|code| code.as_str().to_owned()).unwrap_or_default();
    if code == "launchTemplateVersionDoesNotExist" {
        return Deleted::Gone;
    }
    Deleted::Refused(format!("{code}: {}", error.and_then(|error| error.message()).unwrap_or_default()))
}

/// `None` for a row without an id or a number, which EC2 does not send.
fn head(row: &SdkTemplate) -> Option<TemplateHead> {
    let tags = row.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
    Some(TemplateHead {
        id: LaunchTemplateId::try_from(row.launch_template_id()?).ok()?,
        name: row.launch_template_name().unwrap_or_default().to_owned(),
        latest: row.latest_version_number()?,
        default: row.default_version_number()?,
        tags: tags.collect(),
    })
}

fn version_row(row: &LaunchTemplateVersion) -> Option<VersionRow> {
    Some(VersionRow {
        version: row.version_number()?,
        description: row.version_description().unwrap_or_default().to_owned(),
        image: row.launch_template_data().and_then(|data| data.image_id()).map(str::to_owned),
        created_at: row.create_time().and_then(|time| Timestamp::from_second(time.secs()).ok()),
    })
}

fn device(row: &LaunchTemplateBlockDeviceMapping, root: Option<&str>) -> LaunchTemplateBlockDeviceMappingRequest {
    let is_root = root.is_some() && row.device_name() == root;
    let ebs = row.ebs().map(|ebs| {
        LaunchTemplateEbsBlockDeviceRequest::builder()
            .set_encrypted(ebs.encrypted())
            .set_delete_on_termination(ebs.delete_on_termination())
            .set_iops(ebs.iops())
            .set_kms_key_id(ebs.kms_key_id().map(str::to_owned))
            .set_snapshot_id(ebs.snapshot_id().filter(|_| !is_root).map(str::to_owned))
            .set_volume_size(ebs.volume_size())
            .set_volume_type(ebs.volume_type().cloned())
            .set_throughput(ebs.throughput())
            .set_volume_initialization_rate(ebs.volume_initialization_rate())
            .set_ebs_card_index(ebs.ebs_card_index())
            .build()
    });
    LaunchTemplateBlockDeviceMappingRequest::builder()
        .set_device_name(row.device_name().map(str::to_owned))
        .set_virtual_name(row.virtual_name().map(str::to_owned))
        .set_no_device(row.no_device().map(str::to_owned))
        .set_ebs(ebs)
        .build()
}

//! Auto Scaling: groups and their instance refreshes.

pub mod group;
mod refresh;

use std::time::Duration;

use aws_sdk_autoscaling::{Client, types::AutoScalingGroup};

pub use crate::aws::autoscaling::refresh::{Preferences, RefreshRow, RefreshState, SUCCESSFUL, is_over};
use crate::{
    aws::{
        Bucket, Error, LONGEST_WAIT, Session,
        autoscaling::group::{Aim, GroupRow},
        within,
    },
    clock::Clock,
    crd::launch_template_pin::PinIntent,
    write_ahead::Acknowledged,
};

const DESCRIBE: &str = "autoscaling:DescribeAutoScalingGroups";
/// The largest page of DescribeAutoScalingGroups.
pub const GROUPS_PER_PAGE: i32 = 100;

/// Auto Scaling in one account and region.
#[derive(Clone, Debug)]
pub struct AutoScaling {
    client: Client,
    /// Makes one attempt per call.
    once: Client,
    session: Session,
}

impl AutoScaling {
    pub fn new(session: &Session) -> Self {
        let client = |config: &aws_config::SdkConfig| {
            let config = aws_sdk_autoscaling::config::Builder::from(config).interceptor(session.call_counter()).build();
            Client::from_conf(config)
        };
        Self { client: client(session.sdk()), once: client(&session.sdk_single_attempt()), session: session.clone() }
    }

    /// All groups.
    pub async fn groups(&self) -> Result<Vec<GroupRow>, Error> {
        let call = self.client.describe_auto_scaling_groups().max_records(GROUPS_PER_PAGE);
        let mut rows = call.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(row) = rows.next().await {
            found.extend(group::row(&row.map_err(|e| Error::from_sdk(DESCRIBE, &e))?));
        }
        Ok(found)
    }

    /// The groups with these names that exist.
    pub async fn groups_named(&self, names: &[&str]) -> Result<Vec<GroupRow>, Error> {
        let mut found = Vec::new();
        for names in names.chunks(GROUPS_PER_PAGE as usize) {
            let _permit = self.wait(DESCRIBE).await?;
            let names = names.iter().map(|&name| name.to_owned()).collect();
            let call = self.client.describe_auto_scaling_groups().set_auto_scaling_group_names(Some(names));
            let answer = call.max_records(GROUPS_PER_PAGE).send().await.map_err(|e| Error::from_sdk(DESCRIBE, &e))?;
            found.extend(answer.auto_scaling_groups().iter().filter_map(group::row));
        }
        Ok(found)
    }

    /// Sets the version in all places where the group of `intent` names the launch template of `aim`. A policy is sent back
    /// as it is read, with only the version changed. Idempotent.
    pub async fn update_group(
        &self,
        intent: &Acknowledged<PinIntent>,
        aim: &Aim<'_>,
        budget: Duration,
    ) -> Result<(), Error> {
        const OPERATION: &str = "autoscaling:UpdateAutoScalingGroup";
        let name = intent.intent().group.as_deref().unwrap_or_default();
        let end = Clock.monotonic() + budget;
        let group = within(OPERATION, budget, self.described(OPERATION, name)).await??;
        let template = group.launch_template().and_then(|spec| group::at(spec, aim));
        let policy = group.mixed_instances_policy().and_then(|policy| group::policy_at(policy, aim));
        if template.is_none() && policy.is_none() {
            let message = format!("Auto Scaling group {name} does not name launch template {}", aim.template);
            return Err(Error::not_found(OPERATION, "LaunchTemplateNotFound", message));
        }
        let call = self.once.update_auto_scaling_group().auto_scaling_group_name(name);
        let call = call.set_launch_template(template).set_mixed_instances_policy(policy).send();
        let left = end.saturating_duration_since(Clock.monotonic());
        within(OPERATION, left, call).await?.map(drop).map_err(|e| Error::from_sdk(OPERATION, &e))
    }

    async fn described(&self, operation: &'static str, name: &str) -> Result<AutoScalingGroup, Error> {
        let call = self.once.describe_auto_scaling_groups().auto_scaling_group_names(name).send();
        let answer = call.await.map_err(|e| Error::from_sdk(DESCRIBE, &e))?;
        let group = answer.auto_scaling_groups.and_then(|groups| groups.into_iter().next());
        group.ok_or_else(|| {
            Error::not_found(operation, "GroupNotFound", format!("Auto Scaling group {name} does not exist"))
        })
    }

    async fn wait(&self, operation: &'static str) -> Result<super::Permit, Error> {
        self.session.turn_at(Bucket::AutoScaling, operation, 1, Clock.monotonic() + LONGEST_WAIT).await
    }
}

//! EC2: launches, describes and terminates instances, and describes what they are launched from.

pub mod instance;

mod console;
mod images;
pub mod launch_request;
mod launch_templates;
mod network;
mod run;
mod running;
mod tags;
pub mod template_versions;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use aws_sdk_ec2::{
    Client,
    types::{Filter, InstanceStateName, InstanceStatusSummary, SummaryStatus, Tag},
};
use jiff::Timestamp;

pub use crate::aws::ec2::{
    images::{ImageRow, ImageState, NewestImages},
    launch_templates::{InterfaceRow, TemplateRow},
    network::{SubnetQuery, SubnetRow},
    running::RunningInstance,
};
use crate::{
    aws::{
        Bucket, Class, Error, LONGEST_WAIT, Session,
        ec2::instance::{Described, Instance, InstanceState},
        within,
    },
    clock::Clock,
    crd::launches::Termination,
    ids::{ClientToken, InstanceId, SubnetId, Uid},
    tags::{CLUSTER_TAG, OWNER_UID_TAG, TAG_PREFIX},
    write_ahead::Acknowledged,
};

const DESCRIBE: &str = "ec2:DescribeInstances";
/// The largest page of DescribeInstances and DescribeInstanceStatus.
pub const PAGE: i32 = 1000;
/// DescribeInstances accepts 1000 ids; the documentation of EC2 recommends smaller calls.
const IDS_PER_CALL: usize = 100;
/// The maximum number of ids in TerminateInstances.
const VICTIMS_PER_CALL: usize = 1000;
/// When the rate limit does not allow this many victims, none is sent: they can wait for a few seconds.
const FEW_VICTIMS: usize = 50;
/// The maximum number of values in a filter.
const FILTER_VALUES: usize = 200;

/// EC2 in one account and region.
#[derive(Clone, Debug)]
pub struct Ec2 {
    client: Client,
    /// Makes one attempt per call.
    once: Client,
    session: Session,
}

impl Ec2 {
    pub fn new(session: &Session) -> Self {
        let client = |config: &aws_config::SdkConfig| {
            let config = aws_sdk_ec2::config::Builder::from(config).interceptor(session.call_counter()).build();
            Client::from_conf(config)
        };
        Self { client: client(session.sdk()), once: client(&session.sdk_single_attempt()), session: session.clone() }
    }

    /// Terminates those of `ids` that are recorded victims. One id that EC2 refuses fails the whole call, so a refused
    /// call is split in halves until only that id is left. A call with more victims than the rate limit allows is split
    /// too. The caller has the permit of the first call; if there is none for a further call, the rest is returned as
    /// throttled.
    pub async fn terminate_instances(
        &self,
        victims: &Acknowledged<Vec<Termination>>,
        ids: &[InstanceId],
        budget: Duration,
    ) -> Vec<(InstanceId, Result<(), Error>)> {
        const OPERATION: &str = "ec2:TerminateInstances";
        let recorded = |id: &&InstanceId| victims.intent().iter().any(|t| t.instance_ids.contains(id));
        let ids: Vec<_> = ids.iter().filter(recorded).cloned().collect();
        let end = std::time::Instant::now() + budget;
        let mut outcomes = Vec::new();
        let mut batches: Vec<Vec<InstanceId>> = ids.chunks(VICTIMS_PER_CALL).map(<[_]>::to_vec).collect();
        let mut refused = None;
        let mut first = true;
        while let Some(mut batch) = batches.pop() {
            let left = end.saturating_duration_since(std::time::Instant::now());
            if refused.is_none() {
                match self.further(OPERATION, Bucket::TerminateInstancesResources, batch.len(), left) {
                    Err(_) if batch.len() > FEW_VICTIMS => {
                        let rest = batch.split_off(batch.len() / 2);
                        batches.extend([batch, rest]);
                        continue;
                    }
                    Err(error) => refused = Some(error),
                    Ok(()) if std::mem::take(&mut first) => {}
                    Ok(()) => refused = self.further(OPERATION, Bucket::TerminateInstances, 1, left).err(),
                }
            }
            if let Some(error) = &refused {
                outcomes.extend(batch.into_iter().map(|id| (id, Err(error.clone()))));
                continue;
            }
            let texts = batch.iter().map(ToString::to_string).collect();
            let call = self.once.terminate_instances().set_instance_ids(Some(texts));
            let answer = within(OPERATION, left, call.send()).await;
            match answer.and_then(|answer| answer.map_err(|e| Error::from_sdk(OPERATION, &e))) {
                Ok(_) => outcomes.extend(batch.into_iter().map(|id| (id, Ok(())))),
                Err(error) if batch.len() > 1 && may_be_about_one(&error) => {
                    let rest = batch.split_off(batch.len() / 2);
                    batches.extend([batch, rest]);
                }
                Err(error) => outcomes.extend(batch.into_iter().map(|id| (id, Err(error.clone())))),
            }
        }
        outcomes
    }

    /// Whether the rate limit and the remaining time allow a further call.
    fn further(&self, operation: &'static str, bucket: Bucket, amount: usize, left: Duration) -> Result<(), Error> {
        if left.is_zero() {
            let message = "the time for this call is over".into();
            return Err(Error { message, ..Error::not_sent(operation) });
        }
        self.session.take(operation, bucket, u32::try_from(amount).unwrap_or(u32::MAX)).map(drop)
    }

    /// Describes the instances with these ids. An unknown id fails the whole call, and the error names all unknown ids:
    /// the call is repeated without them.
    pub async fn describe_by_id(&self, ids: &[InstanceId]) -> Result<Described, Error> {
        let mut described = Described::new();
        let mut batches: Vec<Vec<InstanceId>> = ids.chunks(IDS_PER_CALL).map(<[_]>::to_vec).collect();
        while let Some(batch) = batches.pop() {
            let _permit = self.session.turn(DESCRIBE, 1, Clock.monotonic() + LONGEST_WAIT).await?;
            let texts = batch.iter().map(ToString::to_string).collect();
            let answer = self.client.describe_instances().set_instance_ids(Some(texts)).send().await;
            let error = match answer.map_err(|e| Error::from_sdk(DESCRIBE, &e)) {
                Ok(answer) => {
                    let rows = answer.reservations().iter().flat_map(|r| r.instances()).filter_map(instance);
                    described.extend(rows.map(|instance| (instance.id.clone(), Some(instance))));
                    continue;
                }
                Err(error) if error.class == Class::NotFound => error,
                Err(error) => return Err(error),
            };
            let words = error.words();
            let one = batch.len() == 1;
            let (unknown, mut rest): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|id| one || words.contains(id.as_str()));
            if unknown.is_empty() {
                batches.push(rest.split_off(rest.len() / 2));
            }
            batches.extend(Some(rest).filter(|rest| !rest.is_empty()));
            described.extend(unknown.into_iter().map(|id| (id, None)));
        }
        Ok(described)
    }

    /// Those of the instances with these ids that exist, in any state. Unlike [`Ec2::describe_by_id`], it does not tell an
    /// unknown id from one that EC2 does not show now, and any id costs the same.
    pub async fn find_by_id(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, Error> {
        let mut found = Vec::new();
        for ids in ids.chunks(FILTER_VALUES) {
            let _permit = self.session.turn(DESCRIBE, 1, Clock.monotonic() + LONGEST_WAIT).await?;
            let values = ids.iter().map(ToString::to_string).collect();
            found.extend(
                self.describe(vec![Filter::builder().name("instance-id").set_values(Some(values)).build()]).await?,
            );
        }
        Ok(found)
    }

    /// All instances that were launched with one of these tokens, in any state.
    pub async fn find_by_token(&self, tokens: &[ClientToken]) -> Result<Vec<Instance>, Error> {
        let mut found = Vec::new();
        for tokens in tokens.chunks(FILTER_VALUES) {
            let _permit = self.session.turn(DESCRIBE, 1, Clock.monotonic() + LONGEST_WAIT).await?;
            let values = tokens.iter().map(ToString::to_string).collect();
            let filter = Filter::builder().name("client-token").set_values(Some(values)).build();
            found.extend(self.describe(vec![filter]).await?);
        }
        Ok(found)
    }

    /// All instances of `cluster` that are not terminated.
    pub async fn sweep(&self, cluster: &str) -> Result<Vec<Instance>, Error> {
        let states = ["pending", "running", "stopping", "stopped", "shutting-down"].map(String::from).to_vec();
        let cluster = Filter::builder().name(format!("tag:{CLUSTER_TAG}")).values(cluster).build();
        let state = Filter::builder().name("instance-state-name").set_values(Some(states)).build();
        self.describe(vec![cluster, state]).await
    }

    async fn describe(&self, filters: Vec<Filter>) -> Result<Vec<Instance>, Error> {
        let call = self.client.describe_instances().set_filters(Some(filters)).max_results(PAGE);
        let mut pages = call.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| Error::from_sdk(DESCRIBE, &e).of_nothing_named())?;
            found.extend(page.reservations().iter().flat_map(|r| r.instances()).filter_map(instance));
        }
        Ok(found)
    }

    /// Whether both status checks of each running instance passed, including instances of others: EC2 cannot filter
    /// status checks by tag.
    pub async fn status_checks(&self) -> Result<HashMap<InstanceId, bool>, Error> {
        const OPERATION: &str = "ec2:DescribeInstanceStatus";
        let ok = |status: Option<&InstanceStatusSummary>| {
            status.and_then(|status| status.status()) == Some(&SummaryStatus::Ok)
        };
        let mut rows = self.client.describe_instance_status().max_results(PAGE).into_paginator().items().send();
        let mut found = HashMap::new();
        while let Some(row) = rows.next().await {
            let row = row.map_err(|e| Error::from_sdk(OPERATION, &e).of_nothing_named())?;
            let passed = ok(row.system_status()) && ok(row.instance_status());
            found.insert(id(OPERATION, row.instance_id())?, passed);
        }
        Ok(found)
    }
}

/// Whether a batch may have been refused because of one id: a missing instance (which tag-scoped permissions report as
/// a denial), or a protected one.
fn may_be_about_one(error: &Error) -> bool {
    match error.class {
        Class::NotFound | Class::Denied | Class::InvalidInput | Class::NoCapacity | Class::Conflict => true,
        Class::Throttled | Class::Transient => false,
    }
}

fn id(operation: &'static str, text: Option<&str>) -> Result<InstanceId, Error> {
    InstanceId::try_from(text.unwrap_or_default()).map_err(|error| Error::garbled(operation, error))
}

/// `None` for a row without a valid id or state, which EC2 does not send.
fn instance(row: &aws_sdk_ec2::types::Instance) -> Option<Instance> {
    let token = row.client_token().and_then(|token| ClientToken::try_from(token).ok());
    let owner = row.tags().iter().find(|tag| tag.key() == Some(OWNER_UID_TAG));
    let owner = owner.and_then(|tag| Uid::try_from(tag.value()?).ok());
    // Whether others may be adopted depends on all of their tags.
    let is_proven = token.zip(owner).is_some_and(|(token, owner)| token.belongs_to(&owner));
    let wanted = |tag: &Tag| {
        let key = tag.key().filter(|key| !is_proven || key.starts_with(TAG_PREFIX))?;
        Some((key.to_owned(), tag.value().unwrap_or_default().to_owned()))
    };
    Some(Instance {
        id: InstanceId::try_from(row.instance_id()?).ok()?,
        state: state(row.state()?.name()?)?,
        subnet: row.subnet_id().and_then(|id| SubnetId::try_from(id).ok()),
        zone: row.placement().and_then(|p| p.availability_zone()).unwrap_or_default().into(),
        instance_type: row.instance_type().map(|t| t.as_str().to_owned()).unwrap_or_default(),
        launch_index: row.ami_launch_index().and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
        state_reason: row.state_reason().and_then(|reason| reason.code()).unwrap_or_default().into(),
        state_reason_message: row.state_reason().and_then(|reason| reason.message()).unwrap_or_default().into(),
        launched_at: row.launch_time().and_then(|t| Timestamp::from_second(t.secs()).ok()),
        client_token: row.client_token().unwrap_or_default().into(),
        tags: row.tags().iter().filter_map(wanted).collect(),
    })
}

fn state(name: &InstanceStateName) -> Option<InstanceState> {
    match name {
        InstanceStateName::Pending => Some(InstanceState::Pending),
        InstanceStateName::Running => Some(InstanceState::Running),
        InstanceStateName::Stopping => Some(InstanceState::Stopping),
        InstanceStateName::Stopped => Some(InstanceState::Stopped),
        InstanceStateName::ShuttingDown => Some(InstanceState::ShuttingDown),
        InstanceStateName::Terminated => Some(InstanceState::Terminated),
        _ => None,
    }
}

/// Filters for resources that have all of `tags`. In a value, `*` matches any text and `?` one character.
fn tag_filters(tags: &BTreeMap<String, String>) -> impl Iterator<Item = Filter> + '_ {
    tags.iter().map(|(key, value)| Filter::builder().name(format!("tag:{key}")).values(value).build())
}

//! The running instances of a region, whoever launched them, reduced to what selects them.

use std::{collections::HashSet, sync::Arc};

use aws_sdk_ec2::types::Filter;
use jiff::Timestamp;

use crate::{
    aws::{
        Error,
        ec2::{DESCRIBE, Ec2, PAGE},
    },
    ids::InstanceId,
};

/// A running instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningInstance {
    pub id: InstanceId,
    pub launched_at: Timestamp,
    /// Instances share the texts of the tags that they have in common.
    tags: Vec<(Arc<str>, Arc<str>)>,
}

impl RunningInstance {
    /// Whether it has all of `tags`.
    pub fn has<'a>(&self, tags: impl IntoIterator<Item = (&'a String, &'a String)>) -> bool {
        let is = |key: &str, value: &str| self.tags.iter().any(|(k, v)| **k == *key && **v == *value);
        tags.into_iter().all(|(key, value)| is(key, value))
    }
}

impl Ec2 {
    /// All instances that are running.
    pub async fn running(&self) -> Result<Vec<RunningInstance>, Error> {
        let running = Filter::builder().name("instance-state-name").values("running").build();
        let mut pages = self.client.describe_instances().filters(running).max_results(PAGE).into_paginator().send();
        let (mut found, mut texts) = (Vec::new(), HashSet::new());
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| Error::from_sdk(DESCRIBE, &e).of_nothing_named())?;
            let instances = page.reservations().iter().flat_map(|r| r.instances());
            found.extend(instances.filter_map(|instance| row(instance, &mut texts)));
        }
        Ok(found)
    }
}

fn row(instance: &aws_sdk_ec2::types::Instance, texts: &mut HashSet<Arc<str>>) -> Option<RunningInstance> {
    let id = InstanceId::try_from(instance.instance_id()?).ok()?;
    let launched_at = Timestamp::from_second(instance.launch_time()?.secs()).ok()?;
    let tags = instance.tags().iter().filter_map(|tag| Some((shared(tag.key()?, texts), shared(tag.value()?, texts))));
    Some(RunningInstance { id, launched_at, tags: tags.collect() })
}

fn shared(text: &str, texts: &mut HashSet<Arc<str>>) -> Arc<str> {
    if let Some(known) = texts.get(text) {
        return known.clone();
    }
    let new: Arc<str> = text.into();
    texts.insert(new.clone());
    new
}

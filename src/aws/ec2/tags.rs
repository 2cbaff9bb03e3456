//! Tags of instances that are there already.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Tag;

use super::Ec2;
use crate::{
    aws::{Bucket, Error, Session},
    ids::InstanceId,
};

/// CreateTags takes up to 1000 resources.
const RESOURCES_PER_CALL: usize = 1000;

impl Ec2 {
    /// Puts `tags` on instances, over those of the same keys. To repeat it changes nothing.
    pub async fn tag_instances(&self, ids: &[InstanceId], tags: &BTreeMap<String, String>) -> Result<(), Error> {
        const OPERATION: &str = "ec2:CreateTags";
        let Session { account, region, limits, .. } = &self.session;
        let tags: Vec<_> = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        for ids in ids.chunks(RESOURCES_PER_CALL) {
            let permit = limits.take(account, region, Bucket::CreateTags, 1);
            let _permit = permit.map_err(|_| Error::not_sent(OPERATION))?;
            let texts = ids.iter().map(ToString::to_string).collect();
            let call = self.client.create_tags().set_resources(Some(texts)).set_tags(Some(tags.clone()));
            call.send().await.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        }
        Ok(())
    }
}

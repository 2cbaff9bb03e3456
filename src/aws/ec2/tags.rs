//! Tags of existing instances.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Tag;

use crate::{
    aws::{Bucket, Error, ec2::Ec2},
    ids::InstanceId,
};

/// The maximum number of resources in CreateTags.
const RESOURCES_PER_CALL: usize = 1000;

impl Ec2 {
    /// Sets `tags` on instances. Idempotent.
    pub async fn tag_instances(&self, ids: &[InstanceId], tags: &BTreeMap<String, String>) -> Result<(), Error> {
        const OPERATION: &str = "ec2:CreateTags";
        let tags: Vec<_> = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        for ids in ids.chunks(RESOURCES_PER_CALL) {
            let _permit = self.session.take(OPERATION, Bucket::CreateTags, 1)?;
            let texts = ids.iter().map(ToString::to_string).collect();
            let call = self.client.create_tags().set_resources(Some(texts)).set_tags(Some(tags.clone()));
            call.send().await.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        }
        Ok(())
    }
}

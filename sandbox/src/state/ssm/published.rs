//! What AWS itself publishes to everybody.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::parameter::{Kind, Parameter, Tier, Version};
use crate::caller::AccountId;
use crate::state::ec2::seed::{AMAZON_LINUX_ARM64, AMAZON_LINUX_X86_64};

/// Parameters that AWS publishes in every region and that name the images of this sandbox.
pub(super) fn published(region: &str) -> BTreeMap<String, Parameter> {
    [("x86_64", AMAZON_LINUX_X86_64), ("arm64", AMAZON_LINUX_ARM64)]
        .into_iter()
        .map(|(architecture, image)| {
            let name = format!("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}");
            (name.clone(), public(region, &name, image, Timestamp::UNIX_EPOCH))
        })
        .collect()
}

/// A parameter of type String, of AWS itself if there is no owner.
pub(crate) fn plain(owner: Option<&AccountId>, region: &str, name: &str, value: &str, now: Timestamp) -> Parameter {
    let first = Version {
        number: 1,
        value: value.to_owned(),
        kind: Kind::String,
        key_id: None,
        tier: Tier::Standard,
        data_type: "text".to_owned(),
        description: None,
        modified: now,
        modified_by: String::new(),
        ciphertext: String::new(),
    };
    Parameter::new(owner, region, name, first)
}

pub(crate) fn public(region: &str, name: &str, value: &str, now: Timestamp) -> Parameter {
    plain(None, region, name, value, now)
}

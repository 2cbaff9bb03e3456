//! What an instance's metadata service knows: paths and their values. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use crate::state::ec2::instance::{Instance, Market};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Text(String),
    Bytes(Vec<u8>),
    /// Temporary credentials of the instance profile's role.
    Credentials,
    Nothing,
}

/// Looks a path up. Folders answer with their members, one a line; those that are folders themselves end in a slash.
pub(super) fn look_up(instance: &Instance, path: &str) -> Found {
    let Some(path) = without_version(path) else { return Found::Nothing };
    let path = path.trim_end_matches('/');
    if path == "user-data" {
        return instance.decoded_user_data().map_or(Found::Nothing, Found::Bytes);
    }
    if let Some(role) = &instance.instance_role
        && path == format!("{CREDENTIALS}/{role}")
    {
        return Found::Credentials;
    }
    let tree = tree(instance);
    if let Some(value) = tree.get(path) {
        return Found::Text(value.clone());
    }
    let mut members: Vec<String> = tree.keys().filter_map(|key| member(key, path)).collect();
    if members.is_empty() {
        return Found::Nothing;
    }
    members.dedup();
    Found::Text(members.join("\n"))
}

const CREDENTIALS: &str = "meta-data/iam/security-credentials";

/// Every version of the service is the same here, whatever its date.
fn without_version(path: &str) -> Option<&str> {
    let (version, rest) = path.trim_start_matches('/').split_once('/')?;
    let dated = version.len() == 10 && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    (version == "latest" || version == "1.0" || dated).then_some(rest)
}

/// The name of what is directly below `folder` on the way to `key`.
fn member(key: &str, folder: &str) -> Option<String> {
    let rest = if folder.is_empty() { key } else { key.strip_prefix(folder)?.strip_prefix('/')? };
    let (name, deeper) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
    Some(if deeper { format!("{name}/") } else { name.to_owned() })
}

fn tree(instance: &Instance) -> BTreeMap<String, String> {
    let address = instance.private_ip.to_string();
    let host = instance.private_dns_name();
    let life_cycle = match instance.market {
        Market::OnDemand => "on-demand",
        Market::Spot => "spot",
    };
    let groups: Vec<&str> = instance.security_groups.iter().map(|group| group.name.as_str()).collect();
    let mut tree: BTreeMap<String, String> = [
        ("ami-id", instance.image_id.clone()),
        ("ami-launch-index", instance.launch_index.to_string()),
        ("hostname", host.clone()),
        ("instance-action", "none".to_owned()),
        ("instance-id", instance.id.clone()),
        ("instance-life-cycle", life_cycle.to_owned()),
        ("instance-type", instance.instance_type.clone()),
        ("local-hostname", host),
        ("local-ipv4", address),
        ("mac", instance.mac_address()),
        ("placement/availability-zone", instance.zone.clone()),
        ("placement/availability-zone-id", instance.zone_id.clone()),
        ("placement/region", instance.region.clone()),
        ("reservation-id", instance.reservation_id.clone()),
        ("security-groups", groups.join("\n")),
        ("services/domain", "amazonaws.com".to_owned()),
        ("services/partition", "aws".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (format!("meta-data/{name}"), value))
    .collect();
    if let Some(address) = instance.public_ip {
        tree.insert("meta-data/public-ipv4".to_owned(), address.to_string());
    }
    if let Some(at) = instance.rebalance_recommended {
        let notice = json!({"noticeTime": seconds(at)}).to_string();
        tree.insert("meta-data/events/recommendations/rebalance".to_owned(), notice);
    }
    if let Some(at) = instance.interruption_at {
        let action = json!({"action": "terminate", "time": seconds(at)}).to_string();
        tree.insert("meta-data/spot/instance-action".to_owned(), action);
        tree.insert("meta-data/spot/termination-time".to_owned(), seconds(at));
    }
    if instance.metadata_options.tags_enabled {
        let tags = instance.tags.iter();
        tree.extend(tags.map(|(key, value)| (format!("meta-data/tags/instance/{key}"), value.clone())));
    }
    if let (Some(arn), Some(role)) = (&instance.instance_profile, &instance.instance_role) {
        let info = json!({
            "Code": "Success",
            "LastUpdated": instance.launch_time,
            "InstanceProfileArn": arn,
            "InstanceProfileId": "AIPASANDBOX",
        });
        tree.insert("meta-data/iam/info".to_owned(), format!("{info:#}"));
        // A placeholder: it is looked up as credentials before this tree is asked.
        tree.insert(format!("{CREDENTIALS}/{role}"), String::new());
    }
    tree.insert("dynamic/instance-identity/document".to_owned(), identity_document(instance));
    tree
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn identity_document(instance: &Instance) -> String {
    let document = json!({
        "accountId": instance.account,
        "architecture": instance.architecture,
        "availabilityZone": instance.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "kernelId": null,
        "marketplaceProductCodes": null,
        "pendingTime": seconds(instance.launch_time),
        "privateIp": instance.private_ip,
        "ramdiskId": null,
        "region": instance.region,
        "version": "2017-09-30",
    });
    format!("{document:#}")
}

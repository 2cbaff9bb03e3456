//! CreateTopic

use std::collections::BTreeMap;

use super::call::{Operation, SnsCall, invalid};
use crate::error::ApiError;
use crate::protocol::params::Scope;
use crate::protocol::xml::Xml;
use crate::state::sns::Topic;
use crate::state::throttle::TOPICS;

pub(super) const OPERATION: Operation = Operation { name: "CreateTopic", requests: TOPICS, run };

const ATTRIBUTES: &[&str] = &[
    "ArchivePolicy",
    "ContentBasedDeduplication",
    "DataProtectionPolicy",
    "DeliveryPolicy",
    "DisplayName",
    "FifoThroughputScope",
    "FifoTopic",
    "KmsMasterKeyId",
    "Policy",
    "SignatureVersion",
    "TracingConfig",
];
const LONGEST_NAME: usize = 256;
const FIFO: &str = ".fifo";

fn run(call: &SnsCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = root.text("Name").ok_or_else(|| invalid("Topic Name"))?;
    let attributes = read_attributes(&root)?;
    let tags = read_tags(&root)?;
    call.params.finish()?;
    let fifo = attributes.get("FifoTopic").is_some_and(|on| on == "true");
    check_name(name, fifo)?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    call.state.sns.with(account, region, |topics| {
        if let Some(known) = topics.get(name) {
            // Whoever makes a topic twice must ask for the same.
            let differs = attributes.iter().any(|(key, value)| known.attributes.get(key) != Some(value));
            if differs || known.fifo != fifo {
                return Err(invalid("Attributes Reason: Topic already exists with different attributes"));
            }
            if !tags.is_empty() && known.tags != tags {
                return Err(invalid("Tags Reason: Topic already exists with different tags"));
            }
        }
        let arn = format!("arn:aws:sns:{region}:{account}:{name}");
        let mut xml = Xml::default();
        xml.text("TopicArn", &arn);
        topics.entry(name.to_owned()).or_insert(Topic {
            arn,
            fifo,
            attributes,
            tags,
            messages: Vec::new(),
            last_number: 0,
        });
        Ok(xml)
    })
}

fn read_attributes(root: &Scope<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    root.text("Attributes");
    let mut attributes = BTreeMap::new();
    for entry in root.items("Attributes.entry") {
        let (key, value) = (entry.text("key").unwrap_or_default(), entry.text("value").unwrap_or_default());
        if !ATTRIBUTES.contains(&key) {
            return Err(invalid(format!("Attributes Reason: Unknown attribute {key}")));
        }
        attributes.insert(key.to_owned(), value.to_owned());
    }
    Ok(attributes)
}

fn read_tags(root: &Scope<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    root.text("Tags");
    let mut tags = BTreeMap::new();
    for tag in root.items("Tags.member") {
        let key =
            tag.text("Key").filter(|key| !key.is_empty()).ok_or_else(|| invalid("Tags Reason: a key is missing"))?;
        tags.insert(key.to_owned(), tag.text("Value").unwrap_or_default().to_owned());
    }
    Ok(tags)
}

fn check_name(name: &str, fifo: bool) -> Result<(), ApiError> {
    let good = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let short = name.len() <= LONGEST_NAME;
    match (fifo, name.strip_suffix(FIFO)) {
        (true, Some(stem)) if good(stem) && short => Ok(()),
        (true, _) => Err(invalid(
            "Fifo Topic names must end with .fifo and must be made up of only uppercase and lowercase ASCII letters, \
             numbers, underscores, and hyphens, and must be between 1 and 256 characters long.",
        )),
        (false, _) if good(name) && short => Ok(()),
        (false, _) => Err(invalid("Topic Name")),
    }
}

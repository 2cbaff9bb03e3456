//! Publish

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::call::{Operation, SnsCall, invalid};
use crate::error::ApiError;
use crate::protocol::params::Scope;
use crate::protocol::xml::Xml;
use crate::state::sns::{Message, Topic};
use crate::state::throttle::PUBLISH;

pub(super) const OPERATION: Operation = Operation { name: "Publish", requests: PUBLISH, run };

/// Of message and attributes, in bytes.
const LARGEST: usize = 256 * 1024;
const LONGEST_SUBJECT: usize = 99;
const LONGEST_ID: usize = 128;

fn run(call: &SnsCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let (parameter, arn) = match (root.text("TopicArn"), root.text("TargetArn")) {
        (Some(arn), None) => ("TopicArn", arn),
        (None, Some(arn)) => ("TargetArn", arn),
        (None, None) => return Err(invalid("TopicArn or TargetArn Reason: no value for required parameter")),
        (Some(_), Some(_)) => return Err(invalid("TopicArn or TargetArn Reason: only one of them may be given")),
    };
    let message = Message {
        id: uuid::Uuid::new_v4().to_string(),
        subject: root.text("Subject").map(str::to_owned),
        message: root.text("Message").unwrap_or_default().to_owned(),
        attributes: read_attributes(&root)?,
        group_id: root.text("MessageGroupId").map(str::to_owned),
        deduplication_id: root.text("MessageDeduplicationId").map(str::to_owned),
        sequence_number: None,
        published: call.now,
    };
    let structure = root.text("MessageStructure");
    call.params.finish()?;
    check(&message, structure)?;
    call.on_topic(parameter, arn, OPERATION.name, |topic| {
        let published = topic.publish(for_topic(message, topic)?);
        let mut xml = Xml::default();
        xml.text("MessageId", &published.id);
        xml.option("SequenceNumber", published.sequence_number.as_ref());
        Ok(xml)
    })
}

fn read_attributes(root: &Scope<'_>) -> Result<BTreeMap<String, (String, String)>, ApiError> {
    root.text("MessageAttributes");
    let mut attributes = BTreeMap::new();
    for entry in root.items("MessageAttributes.entry") {
        let name = entry.text("Name").unwrap_or_default();
        let kind = entry.text("Value.DataType").unwrap_or_default();
        let value = entry.text("Value.StringValue").or_else(|| entry.text("Value.BinaryValue"));
        let known = ["String", "Number", "Binary"].iter().any(|known| kind.split('.').next() == Some(known));
        let Some(value) = value.filter(|value| known && !value.is_empty() && !name.is_empty()) else {
            return Err(ApiError::new(
                "ParameterValueInvalid",
                format!(
                    "The message attribute '{name}' must contain a non-empty message attribute value of a known type."
                ),
            ));
        };
        attributes.insert(name.to_owned(), (kind.to_owned(), value.to_owned()));
    }
    Ok(attributes)
}

fn check(message: &Message, structure: Option<&str>) -> Result<(), ApiError> {
    if message.message.is_empty() {
        return Err(invalid("Empty message"));
    }
    let attributes = message.attributes.iter().map(|(name, (kind, value))| name.len() + kind.len() + value.len());
    if message.message.len() + attributes.sum::<usize>() > LARGEST {
        return Err(invalid("Message too long"));
    }
    let good = |subject: &str| {
        (1..=LONGEST_SUBJECT).contains(&subject.len())
            && subject.chars().all(|c| c.is_ascii_graphic() || c == ' ')
            && !subject.starts_with(' ')
    };
    if message.subject.as_deref().is_some_and(|subject| !good(subject)) {
        return Err(invalid("Subject"));
    }
    match structure {
        None => {}
        Some("json") => {
            let parsed: Option<serde_json::Value> = serde_json::from_str(&message.message).ok();
            let parsed = parsed.ok_or_else(|| invalid("Message Structure - JSON message body failed to parse"))?;
            if !parsed.get("default").is_some_and(serde_json::Value::is_string) {
                return Err(invalid("Message Structure - No default entry in JSON message body"));
            }
        }
        Some(_) => return Err(invalid("MessageStructure")),
    }
    for (name, id) in [("MessageGroupId", &message.group_id), ("MessageDeduplicationId", &message.deduplication_id)] {
        let good = |id: &String| (1..=LONGEST_ID).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic());
        if id.as_ref().is_some_and(|id| !good(id)) {
            return Err(invalid(format!(
                "{name} Reason: {name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
            )));
        }
    }
    Ok(())
}

/// What FIFO topics ask for, and what others do not take.
fn for_topic(mut message: Message, topic: &Topic) -> Result<Message, ApiError> {
    if !topic.fifo {
        if message.deduplication_id.is_some() {
            return Err(invalid(
                "MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid \
                 for this topic type",
            ));
        }
        return Ok(message);
    }
    if message.group_id.is_none() {
        return Err(invalid("The MessageGroupId parameter is required for FIFO topics"));
    }
    if message.deduplication_id.is_none() {
        if !topic.is_content_deduplicated() {
            return Err(invalid(
                "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided \
                 explicitly",
            ));
        }
        message.deduplication_id = Some(hex::encode(Sha256::digest(message.message.as_bytes())));
    }
    Ok(message)
}

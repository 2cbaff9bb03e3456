//! GetTopicAttributes

use std::collections::BTreeMap;

use super::call::{Operation, SnsCall, invalid};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::throttle::TOPICS;

pub(super) const OPERATION: Operation = Operation { name: "GetTopicAttributes", requests: TOPICS, run };

fn run(call: &SnsCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let arn = root.text("TopicArn").ok_or_else(|| invalid("TopicArn"))?;
    call.params.finish()?;
    call.on_topic("TopicArn", arn, OPERATION.name, |topic| {
        let owner = call.caller.id.account.to_string();
        let own = [("TopicArn", topic.arn.as_str()), ("Owner", &owner), ("DisplayName", "")];
        let counts = ["SubscriptionsConfirmed", "SubscriptionsPending", "SubscriptionsDeleted"].map(|name| (name, "0"));
        let mut attributes: BTreeMap<&str, &str> = own.into_iter().chain(counts).collect();
        attributes.extend(topic.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if topic.fifo {
            attributes.entry("ContentBasedDeduplication").or_insert("false");
        }
        let mut xml = Xml::default();
        xml.element("Attributes", |xml| {
            for (name, value) in attributes {
                xml.element("entry", |xml| {
                    xml.text("key", name);
                    xml.text("value", value);
                });
            }
        });
        Ok(xml)
    })
}

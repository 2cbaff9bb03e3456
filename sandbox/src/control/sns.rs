//! SNS as tests and demos control it.

use std::collections::BTreeMap;

use super::{Control, TopicSpec};
use crate::caller::{AccountId, Caller};
use crate::error::ApiError;
use crate::services::sns;
use crate::state::sns::{Message, Topic, TopicArn};

impl Control {
    /// Makes a topic as the account's root user, without a call. Gives its ARN.
    pub fn add_topic(&self, spec: &TopicSpec) -> Result<String, ApiError> {
        let mut attributes = spec.attributes.clone();
        if spec.name.ends_with(".fifo") {
            attributes.insert("FifoTopic".to_owned(), "true".to_owned());
        }
        let mut form = BTreeMap::from([("Name".to_owned(), spec.name.clone())]);
        for (index, (key, value)) in attributes.into_iter().enumerate() {
            let entry = format!("Attributes.entry.{}", index + 1);
            form.extend([(format!("{entry}.key"), key), (format!("{entry}.value"), value)]);
        }
        let caller = Caller { id: self.root(&spec.account)?, region: spec.region.clone() };
        sns::carry_out(&self.state, &caller, "CreateTopic", &form)?;
        Ok(format!("arn:aws:sns:{}:{}:{}", spec.region, spec.account, spec.name))
    }

    /// The account's topics in a region, with all that was published.
    pub fn topics(&self, account: &AccountId, region: &str) -> Vec<Topic> {
        self.state.sns.with(account, region, |topics| topics.values().cloned().collect())
    }

    /// What was published to a topic, the oldest first. Nothing for a topic that is not there.
    pub fn messages(&self, topic_arn: &str) -> Vec<Message> {
        self.on_topic(topic_arn, |topic| topic.messages.clone()).unwrap_or_default()
    }

    pub fn clear_messages(&self, topic_arn: &str) {
        let _nothing_there = self.on_topic(topic_arn, |topic| topic.messages.clear());
    }

    /// As its owner does with DeleteTopic.
    pub fn delete_topic(&self, topic_arn: &str) {
        if let Some(TopicArn { account, region, name }) = TopicArn::parse(topic_arn) {
            self.state.sns.with(&account, region, |topics| topics.remove(name));
        }
    }

    fn on_topic<T>(&self, arn: &str, work: impl FnOnce(&mut Topic) -> T) -> Option<T> {
        let TopicArn { account, region, name } = TopicArn::parse(arn)?;
        self.state.sns.with(&account, region, |topics| topics.get_mut(name).map(work))
    }
}

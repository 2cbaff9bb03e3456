//! Amazon SNS: publishes notifications.

use aws_sdk_sns::Client;

use crate::{
    aws::{Error, Session},
    ids::Uid,
};

const OPERATION: &str = "sns:Publish";
/// SNS allows fewer than 100 characters in a subject.
const SUBJECT_LIMIT: usize = 99;

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    pub topic: &'a str,
    /// One line.
    pub subject: &'a str,
    pub body: &'a str,
    /// A FIFO topic keeps the order of the notifications of one object.
    pub object: &'a Uid,
    /// A FIFO topic drops a notification that it has already got.
    pub key: &'a str,
}

/// Publishes once: a standard topic cannot tell a repeated notification from a new one.
pub async fn publish(session: &Session, notification: &Notification<'_>) -> Result<(), Error> {
    let Notification { topic, subject, body, object, key } = notification;
    let config = aws_sdk_sns::config::Builder::from(&session.sdk_single_attempt()).interceptor(session.call_counter());
    let is_fifo = topic.ends_with(".fifo");
    let subject: String =
        subject.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).take(SUBJECT_LIMIT).collect();
    let call = Client::from_conf(config.build()).publish().topic_arn(*topic).subject(subject).message(*body);
    let call = call.set_message_group_id(is_fifo.then(|| object.to_string()));
    let call = call.set_message_deduplication_id(is_fifo.then(|| (*key).to_owned()));
    call.send().await.map(drop).map_err(|e| Error::from_sdk(OPERATION, &e))
}

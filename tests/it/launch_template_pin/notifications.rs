//! Notifications by SNS: told at least once, and in nobody's way.

use muster_sandbox::{Fault, FaultAction, TopicSpec};
use serde_json::json;

use super::{Estate, faults::refused, is, is_ready, status, told};
use crate::support::scene::REGION;

#[tokio::test]
async fn a_notification_that_is_refused_is_told_and_sent_later() {
    let estate = Estate::new().await;
    let fifo = TopicSpec {
        attributes: [("FifoTopic".to_owned(), "true".to_owned())].into(),
        ..TopicSpec::new(&estate.scene.account, REGION, "ops.fifo")
    };
    let topic = estate.scene.sandbox.add_topic(&fifo).unwrap();
    estate.backup("second", 60);
    let key = refused("KMSAccessDenied", "The ciphertext refers to a customer master key that does not exist");
    let fault = estate.scene.sandbox.add_fault(Fault::always("sns", "Publish", key));
    let _controller = estate.scene.start().await;
    estate.create(json!({"rollbackTo": 1, "notify": {"sns": {"topicARN": topic}}})).await;
    let pin = estate.wait("refused", |pin| is(pin, "NotifyFailed", "True/NotDelivered")).await;
    assert!(told(&pin, "NotifyFailed").1.contains("KMSAccessDenied"), "{:?}", told(&pin, "NotifyFailed"));
    assert!(is_ready(&pin), "nothing waits for a notification: {:?}", told(&pin, "Ready"));
    estate.scene.sandbox.remove_fault(fault);
    // No answer either: a topic of FIFO drops what it got twice.
    estate.scene.sandbox.add_fault(Fault::once("sns", "Publish", FaultAction::DropAfter));
    estate.wait("sent", |pin| told(pin, "NotifyFailed").0 == "/" && !status(pin).notified.is_empty()).await;
    let messages = estate.scene.sandbox.messages(&topic);
    assert_eq!(messages.len(), 1, "{messages:?}");
    let uid = pin.metadata.uid.unwrap();
    assert_eq!(messages[0].group_id.as_deref(), Some(uid.as_str()));
    let body: serde_json::Value = serde_json::from_str(&messages[0].message).unwrap();
    assert_eq!((&body["event"], &body["name"]), (&json!("RolledBack"), &json!("web")));
    // When it is over and happens again, it is told again.
    for (to, count) in [(serde_json::Value::Null, 1), (json!(1), 2)] {
        estate.change(json!({"spec": {"rollbackTo": to}})).await;
        let told = |pin: &_| is_ready(pin) && status(pin).notified.len() == count - 1;
        estate.wait("its turn", |pin| told(pin) || estate.scene.sandbox.messages(&topic).len() == count).await;
        if count == 2 {
            estate.wait("the second", |_| estate.scene.sandbox.messages(&topic).len() == 2).await;
        } else {
            estate.wait("it is over", |pin| status(pin).notified.is_empty()).await;
        }
    }
}

#[tokio::test]
async fn a_notification_that_nobody_wants_any_more_is_not_told_as_failed() {
    let estate = Estate::new().await;
    let gone = format!("arn:aws:sns:{REGION}:{}:gone", estate.scene.account);
    let _controller = estate.scene.start().await;
    estate.create(json!({"rollbackTo": 1, "notify": {"sns": {"topicARN": gone}}})).await;
    estate.wait("refused", |pin| is(pin, "NotifyFailed", "True/NotDelivered")).await;
    estate.change(json!({"spec": {"rollbackTo": null}})).await;
    estate.wait("nothing to tell", |pin| is_ready(pin) && told(pin, "NotifyFailed").0 == "/").await;
}

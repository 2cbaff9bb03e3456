//! Topics and what was published to them, as JSON.
//!
//! ```text
//! POST   /_sandbox/topics                         {account, region, name, attributes}; answers the ARN
//! GET    /_sandbox/topics/{account}/{region}      with messages
//! DELETE /_sandbox/topics?topic=<arn>
//! GET    /_sandbox/messages?topic=<arn>           [{id, subject, message, attributes, groupId, ...}]    DELETE
//! ```

use axum::extract::{Path, Query, State as Shared};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;

use crate::caller::AccountId;
use crate::control::{Control, TopicSpec};
use crate::error::ApiError;
use crate::state::sns::{Message, Topic};

pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/_sandbox/topics", post(add).delete(delete_topic))
        .route("/_sandbox/topics/{account}/{region}", get(topics))
        .route("/_sandbox/messages", get(messages).delete(clear))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Of {
    topic: String,
}

async fn add(Shared(control): Shared<Control>, Json(spec): Json<TopicSpec>) -> Result<Json<String>, ApiError> {
    control.add_topic(&spec).map(Json)
}

async fn topics(
    Shared(control): Shared<Control>,
    Path((account, region)): Path<(AccountId, String)>,
) -> Json<Vec<Topic>> {
    Json(control.topics(&account, &region))
}

async fn delete_topic(Shared(control): Shared<Control>, Query(of): Query<Of>) -> StatusCode {
    control.delete_topic(&of.topic);
    StatusCode::NO_CONTENT
}

async fn messages(Shared(control): Shared<Control>, Query(of): Query<Of>) -> Json<Vec<Message>> {
    Json(control.messages(&of.topic))
}

async fn clear(Shared(control): Shared<Control>, Query(of): Query<Of>) -> StatusCode {
    control.clear_messages(&of.topic);
    StatusCode::NO_CONTENT
}

//! What tests and demos may do with Parameter Store beside its API, in process and as JSON.
//!
//! ```text
//! GET    /_sandbox/ssm/{account}/{region}               parameters, with all versions, decrypted
//! PUT    /_sandbox/ssm/public/{region}                  {name, value}: as AWS publishes the ids of its images
//! ```

use axum::extract::{Path, State as Shared};
use axum::routing::{get, put};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;

use super::parameter::Parameter;
use super::store;
use crate::caller::AccountId;
use crate::control::Control;

impl Control {
    /// The account's parameters in a region, with all their versions, decrypted.
    pub fn parameters(&self, account: &AccountId, region: &str) -> Vec<Parameter> {
        self.state.ssm.with(account, region, |store| store.own.values().cloned().collect())
    }

    pub fn parameter(&self, account: &AccountId, region: &str, name: &str) -> Option<Parameter> {
        self.state.ssm.with(account, region, |store| store.own.get(name).cloned())
    }

    /// Publishes a parameter to all accounts, as AWS does below `/aws/service`.
    pub fn put_public_parameter(&self, region: &str, name: &str, value: &str) {
        let made = store::public(region, name, value, self.now());
        self.state.ssm.publish(region, made);
    }
}

pub(crate) fn routes() -> Router<Control> {
    Router::new()
        .route("/_sandbox/ssm/{account}/{region}", get(parameters))
        .route("/_sandbox/ssm/public/{region}", put(publish))
}

async fn parameters(
    Shared(control): Shared<Control>,
    Path((account, region)): Path<(AccountId, String)>,
) -> Json<Vec<Parameter>> {
    Json(control.parameters(&account, &region))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    name: String,
    value: String,
}

async fn publish(
    Shared(control): Shared<Control>,
    Path(region): Path<String>,
    Json(Published { name, value }): Json<Published>,
) -> StatusCode {
    control.put_public_parameter(&region, &name, &value);
    StatusCode::NO_CONTENT
}

//! The OpenAPI document.

use serde_json::{Value, json};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::kinds::fleet_report::api::query::{Format, Parameters};

/// The document, as it is served.
pub(super) fn document() -> Value {
    serde_json::to_value(Document::openapi()).unwrap_or_else(|_| json!({}))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "muster",
        description = "What every instance reports about itself: which versions run where, right now.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(instances, versions, instances_of_key, versions_of_key, openapi),
    components(schemas(Format, Problem, Versions)),
    modifiers(&Schemes),
)]
struct Document;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
        let token = token.description(Some(
            "A token of Kubernetes for the audience `muster`: kubectl create token --audience muster",
        ));
        components.add_security_scheme("token", SecurityScheme::Http(token.build()));
        let key = ApiKeyValue::with_description("x-api-key", "The key in a Secret of type muster.dev/api-key");
        components.add_security_scheme("key", SecurityScheme::ApiKey(ApiKey::Header(key)));
    }
}

/// Why a request is not answered.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes a response")]
struct Problem {
    error: String,
}

/// How often each value occurs in current reports.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes a response")]
struct Versions {
    collected_at: String,
    age_seconds: i64,
    failed_sources: Vec<String>,
    /// The number of instances in each state.
    instances: std::collections::BTreeMap<String, u64>,
    fields: Vec<FieldVersions>,
}

#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes a response")]
struct FieldVersions {
    name: String,
    values: Vec<ValueCount>,
}

#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes a response")]
struct ValueCount {
    value: String,
    count: u64,
    behind: u64,
}

/// The reports of a FleetReport
///
/// The newest report of each instance. Reports that are stale, or of instances that do not run, are only there when they
/// are asked for.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/fleetreports/{name}/instances",
    params(
        ("namespace" = String, Path, description = "The namespace of the FleetReport"),
        ("name" = String, Path, description = "The name of the FleetReport"),
        Parameters,
    ),
    responses(
        (status = 200, description = "The reports", content(
            (Value = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
        )),
        (status = 304, description = "Nothing has changed since the ETag in If-None-Match"),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 401, description = "There is no valid token or key", body = Problem),
        (status = 403, description = "The caller may not read it, or it does not exist", body = Problem),
        (status = 404, description = "It does not exist", body = Problem),
        (status = 429, description = "Too many requests", body = Problem),
        (status = 503, description = "There is no data, or no leader", body = Problem),
    ),
    security(("token" = []), ("key" = [])),
)]
#[expect(dead_code, reason = "it describes a route")]
fn instances() {}

/// The reports of the only FleetReport that a key opens
#[utoipa::path(
    get,
    path = "/instances",
    params(Parameters),
    responses(
        (status = 200, description = "The reports", content(
            (Value = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
        )),
        (status = 304, description = "Nothing has changed since the ETag in If-None-Match"),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 401, description = "There is no key", body = Problem),
        (status = 403, description = "The key opens nothing", body = Problem),
        (status = 409, description = "The key opens several FleetReports", body = Problem),
        (status = 429, description = "Too many requests", body = Problem),
        (status = 503, description = "There is no data, or no leader", body = Problem),
    ),
    security(("key" = [])),
)]
#[expect(dead_code, reason = "it describes a route")]
fn instances_of_key() {}

/// How often each value occurs
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/fleetreports/{name}/versions",
    params(
        ("namespace" = String, Path, description = "The namespace of the FleetReport"),
        ("name" = String, Path, description = "The name of the FleetReport"),
    ),
    responses(
        (status = 200, description = "The counts", body = Versions),
        (status = 401, description = "There is no valid token or key", body = Problem),
        (status = 403, description = "The caller may not read it, or it does not exist", body = Problem),
        (status = 404, description = "It does not exist", body = Problem),
        (status = 429, description = "Too many requests", body = Problem),
        (status = 503, description = "There is no data, or no leader", body = Problem),
    ),
    security(("token" = []), ("key" = [])),
)]
#[expect(dead_code, reason = "it describes a route")]
fn versions() {}

/// How often each value occurs, in the only FleetReport that a key opens
#[utoipa::path(
    get,
    path = "/versions",
    responses(
        (status = 200, description = "The counts", body = Versions),
        (status = 401, description = "There is no key", body = Problem),
        (status = 403, description = "The key opens nothing", body = Problem),
        (status = 409, description = "The key opens several FleetReports", body = Problem),
        (status = 429, description = "Too many requests", body = Problem),
        (status = 503, description = "There is no data, or no leader", body = Problem),
    ),
    security(("key" = [])),
)]
#[expect(dead_code, reason = "it describes a route")]
fn versions_of_key() {}

/// This document
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "The document", body = Value)))]
#[expect(dead_code, reason = "it describes a route")]
fn openapi() {}

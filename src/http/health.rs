//! /healthz, /readyz and /metrics.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    http::server::{self, Limits},
    metrics::Metrics,
};

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, limits: Limits, metrics: Arc<Metrics>, ready: Arc<AtomicBool>) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving health and metrics");
    }
    let app = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(move || async move { readiness(ready.load(Ordering::Relaxed)) }))
        .route("/metrics", get(move || async move { exposition(&metrics) }));
    server::serve(listener, app, limits, None).await;
}

fn readiness(ready: bool) -> (StatusCode, &'static str) {
    if ready { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting") }
}

fn exposition(metrics: &Metrics) -> impl IntoResponse + use<> {
    match metrics.encode() {
        Ok(text) => {
            (StatusCode::OK, [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], String::new()),
    }
}

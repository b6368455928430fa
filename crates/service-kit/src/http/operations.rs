//! The routes of a service that serves nothing but its own operation: health and metrics.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::telemetry::Metrics;

/// What a service says about its readiness: a JSON document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    pub document: String,
}

type Asking = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Readiness> + Send>> + Send + Sync>;

#[derive(Clone)]
struct Operations {
    readiness: Asking,
    metrics: Metrics,
}

/// `/health/live` touches nothing; `/health/ready` and `/health` ask `readiness`; `/metrics` is for Prometheus.
pub fn operations<F>(metrics: Metrics, readiness: impl Fn() -> F + Send + Sync + 'static) -> Router
where
    F: Future<Output = Readiness> + Send + 'static,
{
    let readiness: Asking = Arc::new(move || Box::pin(readiness()));
    Router::new()
        .route("/health/live", get(async || "alive\n"))
        .route("/health/ready", get(ready))
        .route("/health", get(health))
        .route("/metrics", get(show_metrics))
        .with_state(Operations { readiness, metrics })
}

fn json(status: StatusCode, document: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], document)
        .into_response()
}

async fn ready(State(operations): State<Operations>) -> Response {
    let Readiness { ready, document } = (operations.readiness)().await;
    json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, document)
}

async fn health(State(operations): State<Operations>) -> Response {
    json(StatusCode::OK, (operations.readiness)().await.document)
}

async fn show_metrics(State(operations): State<Operations>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], operations.metrics.render()).into_response()
}

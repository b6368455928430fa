//! Health and operation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_api_types::problem::{Problem, ProblemCode};
use gantry_api_types::system::{
    Broker, BrokerStatus, Dependency, Health, HealthStatus, QueueDepth, QueueDepths, Reconciler, Reconcilers,
    Version,
};
use gantry_blobs::BlobError;
use gantry_domain::spec::Pool;
use gantry_store::StoreError;

use crate::access::Caller;
use crate::error::{ApiError, ApiResult};
use crate::state::App;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// On asking one dependency.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// How much waits and runs per pool, as of a quarter of a second ago at most. `backlog` is what to scale workers on.
#[utoipa::path(get, path = "/api/v1/system/queue", operation_id = "queue_depths", tag = "system",
    responses((status = 200, body = QueueDepths),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn queue(State(app): State<Arc<App>>, _: Caller) -> ApiResult<Json<QueueDepths>> {
    let mut pools: BTreeMap<Pool, QueueDepth> = BTreeMap::new();
    let empty = |pool: &Pool| QueueDepth {
        pool: pool.to_string(),
        pending: 0,
        queued: 0,
        running: 0,
        backlog: 0,
        slots: 0,
    };
    let counted = app.census.take(&app.parts.stores, app.now()).await?;
    for depth in &counted.depths {
        let entry = pools.entry(depth.pool.clone()).or_insert_with(|| empty(&depth.pool));
        entry.pending = depth.pending;
        entry.queued = depth.queued;
        entry.running = depth.running;
        entry.backlog = depth.pending + depth.queued + depth.running;
    }
    let now = app.now();
    for worker in &counted.workers {
        if now.since(worker.last_seen_at) <= app.config.leases.lease && !worker.draining {
            pools.entry(worker.pool.clone()).or_insert_with(|| empty(&worker.pool)).slots +=
                u64::from(worker.slots);
        }
    }
    let broker = app.broker.trouble().map_or_else(Broker::default, |trouble| Broker {
        status: BrokerStatus::Down,
        since: Some(trouble.since),
        detail: Some(trouble.detail().to_owned()),
    });
    Ok(Json(QueueDepths { pools: pools.into_values().collect(), broker }))
}

/// What the periodic tasks did last.
#[utoipa::path(get, path = "/api/v1/system/reconcilers", operation_id = "list_reconcilers", tag = "system",
    responses((status = 200, body = Reconcilers),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn reconcilers(State(app): State<Arc<App>>, _: Caller) -> Json<Reconcilers> {
    let statuses = app.statuses.get().map(|statuses| statuses.snapshot()).unwrap_or_default();
    let items = statuses.into_iter().map(|status| Reconciler {
        name: status.name.to_owned(),
        period_ms: status.period.as_millis() as u64,
        runs: status.runs,
        last_started_at: status.last_started.map(Into::into),
        last_duration_ms: status.last_duration.map(|duration| duration.as_millis() as u64),
        last_outcome: status.last_outcome,
        consecutive_failures: status.consecutive_failures,
    });
    Json(Reconcilers { items: items.collect() })
}

/// Which version this is, and how it carries out runs.
#[utoipa::path(get, path = "/api/v1/system/version", operation_id = "version", tag = "system", responses((status = 200, body = Version)))]
pub async fn version(State(app): State<Arc<App>>) -> Json<Version> {
    let executor = app.config.executor.map(|kind| kind.as_str().to_owned());
    Json(Version { version: VERSION.to_owned(), executor })
}

/// Anybody may ask about health: the log gets the error, the answer only what kind it is.
fn down(name: &str, error: &dyn std::fmt::Display, public: &str) -> String {
    tracing::warn!(dependency = name, %error, "a dependency is down");
    public.to_owned()
}

async fn check(app: &App) -> Health {
    let bounded =
        |name: &str, required: bool, result: Result<Result<(), String>, tokio::time::error::Elapsed>| {
            let detail = match result {
                Ok(Ok(())) => None,
                Ok(Err(detail)) => Some(detail),
                Err(_) => Some(format!("does not answer within {} seconds", CHECK_TIMEOUT.as_secs())),
            };
            Dependency { name: name.to_owned(), up: detail.is_none(), required, detail }
        };
    let store = async {
        app.parts.stores.auth.check().await.map_err(|error| match &error {
            StoreError::Unavailable(_) => down("store", &error, "cannot be reached"),
            StoreError::NoSpace => down("store", &error, "has no space left"),
            StoreError::Corrupt(_) | StoreError::TooNew { .. } => down("store", &error, "cannot be read"),
        })
    };
    let blobs = async {
        app.parts.blobs.check().await.map_err(|error| match &error {
            BlobError::NoSpace => down("blobs", &error, "has no space left"),
            _ => down("blobs", &error, "cannot be reached"),
        })
    };
    let queue = async {
        let depth = app.parts.queue.depth(&Pool::default()).await;
        depth.map(drop).map_err(|error| down("queue", &error, "cannot be reached"))
    };
    let (store, blobs, queue) = tokio::join!(
        tokio::time::timeout(CHECK_TIMEOUT, store),
        tokio::time::timeout(CHECK_TIMEOUT, blobs),
        tokio::time::timeout(CHECK_TIMEOUT, queue),
    );
    let events = match app.parts.bus.is_degraded() {
        true => Err("cannot be reached: what happens elsewhere shows a little later".to_owned()),
        false => Ok(()),
    };
    let dependencies = vec![
        bounded("store", true, store),
        bounded("blobs", false, blobs),
        bounded("queue", false, queue),
        bounded("events", false, Ok(events)),
    ];
    let status = if app.retired.is_triggered() || app.shutdown.is_triggered() {
        HealthStatus::Retiring
    } else if dependencies.iter().any(|dependency| dependency.required && !dependency.up) {
        HealthStatus::Down
    } else if dependencies.iter().any(|dependency| !dependency.up) {
        HealthStatus::Degraded
    } else {
        HealthStatus::Ok
    };
    let ready = matches!(status, HealthStatus::Ok | HealthStatus::Degraded);
    Health { ready, status, version: VERSION.to_owned(), dependencies }
}

/// Everything about health, for a person.
#[utoipa::path(get, path = "/health", operation_id = "health", tag = "system", responses((status = 200, body = Health)))]
pub async fn health(State(app): State<Arc<App>>) -> Json<Health> {
    Json(check(&app).await)
}

/// The process lives. Touches nothing else.
#[utoipa::path(get, path = "/health/live", operation_id = "live", tag = "system", responses((status = 200, body = String)))]
pub async fn live() -> &'static str {
    "alive\n"
}

/// Whether requests can be served; names what is down. Without the broker they are: runs are accepted and wait.
#[utoipa::path(get, path = "/health/ready", operation_id = "ready", tag = "system",
    responses((status = 200, body = Health), (status = 503, body = Health)))]
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    let health = check(&app).await;
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "system",
    responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn metrics(State(app): State<Arc<App>>) -> ApiResult<Response> {
    let metrics = app
        .metrics
        .as_ref()
        .ok_or_else(|| ApiError::new(ProblemCode::NotFound, "Metrics are switched off in this process."))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()).into_response())
}

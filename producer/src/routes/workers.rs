//! The fleet.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use gantry_api_types::fleet::{Worker, Workers};
use gantry_api_types::problem::Problem;
use gantry_domain::id::WorkerId;

use crate::error::{ApiError, ApiResult};
use crate::services::accept::Caller;
use crate::state::App;

/// List the workers.
#[utoipa::path(get, path = "/api/v1/workers", tag = "workers",
    responses((status = 200, body = Workers),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list(State(app): State<Arc<App>>, _: Caller) -> ApiResult<Json<Workers>> {
    let workers = app.parts.stores.workers.list().await?;
    let (now, lease) = (app.now(), app.config.leases.lease);
    Ok(Json(Workers { items: workers.iter().map(|worker| Worker::of(worker, now, lease)).collect() }))
}

/// Let a worker finish what it has and take no more.
#[utoipa::path(post, path = "/api/v1/workers/{id}/drain", tag = "workers", params(("id" = String, Path)),
    responses((status = 204, description = "The worker is told with its next heartbeat"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn drain(State(app): State<Arc<App>>, _: Caller, Path(id): Path<String>) -> ApiResult<StatusCode> {
    set_draining(&app, &id, true).await
}

/// Let a draining worker take runs again.
#[utoipa::path(post, path = "/api/v1/workers/{id}/undrain", tag = "workers", params(("id" = String, Path)),
    responses((status = 204, description = "The worker is told with its next heartbeat"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn undrain(
    State(app): State<Arc<App>>,
    _: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    set_draining(&app, &id, false).await
}

async fn set_draining(app: &App, id: &str, draining: bool) -> ApiResult<StatusCode> {
    let id = id.parse::<WorkerId>().map_err(|_| ApiError::not_found())?;
    if !app.parts.stores.workers.set_draining(id, draining).await? {
        return Err(ApiError::not_found());
    }
    if let Some(worker) = app.parts.stores.workers.get(id).await? {
        app.fleet.draining(worker.id, draining);
    }
    app.wakes.dispatch.wake();
    Ok(StatusCode::NO_CONTENT)
}

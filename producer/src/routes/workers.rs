//! The fleet.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gantry_api_types::fleet::{Worker, Workers};
use gantry_api_types::problem::Problem;
use gantry_domain::id::WorkerId;
use gantry_domain::identity::AuditAction;

use crate::access::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::ApiPath;
use crate::services::identity::audit;
use crate::state::App;

/// List the workers.
#[utoipa::path(get, path = "/api/v1/workers", operation_id = "list_workers", tag = "workers",
    responses((status = 200, body = Workers),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list(State(app): State<Arc<App>>, _: Caller) -> ApiResult<Json<Workers>> {
    let workers = app.parts.stores.workers.list().await?;
    let (now, lease) = (app.now(), app.config.leases.lease);
    Ok(Json(Workers { items: workers.iter().map(|worker| Worker::of(worker, now, lease)).collect() }))
}

/// Let a worker finish what it has and take no more.
#[utoipa::path(post, path = "/api/v1/workers/{id}/drain", operation_id = "drain_worker", tag = "workers", params(("id" = String, Path)),
    responses((status = 200, description = "The worker is told with its next heartbeat", body = Worker),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn drain(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(id): ApiPath<WorkerId>,
) -> ApiResult<Json<Worker>> {
    set_draining(&app, &caller, id, true).await
}

/// Let a draining worker take runs again.
#[utoipa::path(post, path = "/api/v1/workers/{id}/undrain", operation_id = "undrain_worker", tag = "workers", params(("id" = String, Path)),
    responses((status = 200, description = "The worker is told with its next heartbeat", body = Worker),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn undrain(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(id): ApiPath<WorkerId>,
) -> ApiResult<Json<Worker>> {
    set_draining(&app, &caller, id, false).await
}

async fn set_draining(app: &App, caller: &Caller, id: WorkerId, draining: bool) -> ApiResult<Json<Worker>> {
    if !app.parts.stores.workers.set_draining(id, draining).await? {
        return Err(ApiError::not_found());
    }
    let worker = app.parts.stores.workers.get(id).await?.ok_or_else(ApiError::not_found)?;
    app.fleet.draining(worker.id, draining);
    app.wakes.dispatch.wake();
    let action = if draining { AuditAction::WorkerDrained } else { AuditAction::WorkerUndrained };
    audit::write(app, audit::done(app, caller, action).to(worker.id)).await;
    Ok(Json(Worker::of(&worker, app.now(), app.config.leases.lease)))
}

//! Changes of runs, as they happen.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use gantry_api_types::problem::Problem;

use crate::error::ApiResult;
use crate::extract::Loaded;
use crate::services::accept::Caller;
use crate::state::App;

/// Watch one run.
#[utoipa::path(get, path = "/api/v1/runs/{id}/events", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = String, content_type = "text/event-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn run(State(_app): State<Arc<App>>, Loaded { .. }: Loaded) -> ApiResult<Response> {
    Ok(Response::default())
}

/// Watch all runs.
#[utoipa::path(get, path = "/api/v1/events", tag = "runs",
    responses((status = 200, body = String, content_type = "text/event-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn organization(State(_app): State<Arc<App>>, _caller: Caller) -> ApiResult<Response> {
    Ok(Response::default())
}

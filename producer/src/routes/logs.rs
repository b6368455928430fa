//! A run's log, as text or as it grows.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use gantry_api_types::problem::Problem;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::ApiResult;
use crate::extract::{ApiQuery, Loaded};
use crate::state::App;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReadParams {
    /// Which attempt; the last if absent.
    attempt: Option<u32>,
    /// `1`: Gantry's own lines too, in plain text. Events always have them.
    system: Option<String>,
    /// `1`: server-sent events, from the beginning or `Last-Event-ID` until the run is over.
    follow: Option<String>,
}

/// Read the log.
#[utoipa::path(get, path = "/api/v1/runs/{id}/logs", tag = "results", params(("id" = String, Path), ReadParams),
    responses((status = 200, body = String, content_type = "text/plain"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn read(
    State(_app): State<Arc<App>>,
    Loaded { run: _, .. }: Loaded,
    ApiQuery(_params): ApiQuery<ReadParams>,
    _headers: HeaderMap,
) -> ApiResult<Response> {
    Ok(Response::default())
}

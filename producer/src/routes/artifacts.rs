//! What a run left: listing and downloading.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_api_types::Page;
use gantry_api_types::problem::{Problem, ProblemCode};
use gantry_api_types::run::Artifact;
use gantry_blobs::BlobKind;
use gantry_domain::attempt::Attempt;
use gantry_domain::run::Run;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::artifacts::index::IndexEntry;
use crate::artifacts::range::{Wanted, wanted};
use crate::artifacts::{disposition, key};
use crate::error::{ApiError, ApiResult};
use crate::extract::query::limit;
use crate::extract::{ApiQuery, Loaded};
use crate::state::App;

/// No script of an artifact runs, whatever shows it and wherever it is opened.
const POLICY: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Which attempt's; the last if absent.
    attempt: Option<u32>,
    /// 1 to 100; 25 if absent.
    limit: Option<u32>,
    /// From `next_cursor`.
    cursor: Option<String>,
    /// What the path begins with.
    prefix: Option<String>,
}

/// The attempt that was asked for, or the last; `None` when there was none yet.
pub(super) fn attempt_of(run: &Run, number: Option<u32>) -> ApiResult<Option<&Attempt>> {
    let Some(number) = number else { return Ok(run.last_attempt()) };
    match run.attempts.iter().find(|attempt| attempt.number == number) {
        Some(attempt) => Ok(Some(attempt)),
        None => Err(ApiError::new(ProblemCode::NotFound, format!("This run has no attempt {number}."))),
    }
}

/// Cursors of these lists are positions.
pub(super) fn position(cursor: Option<&str>) -> ApiResult<u32> {
    let parsed = cursor.map_or(Ok(0), str::parse);
    parsed.map_err(|_| ApiError::invalid_parameter("`cursor` is not one that a list gave you."))
}

/// List what a run left, by path.
#[utoipa::path(get, path = "/api/v1/runs/{id}/artifacts", operation_id = "list_artifacts", tag = "results",
    params(("id" = String, Path), ListParams),
    responses((status = 200, body = Page<Artifact>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(app): State<Arc<App>>,
    Loaded { run, .. }: Loaded,
    ApiQuery(params): ApiQuery<ListParams>,
) -> ApiResult<Json<Page<Artifact>>> {
    let limit = limit(params.limit)? as usize;
    let from = position(params.cursor.as_deref())? as usize;
    let Some(attempt) = attempt_of(&run, params.attempt)? else {
        return Ok(Json(Page { items: Vec::new(), next_cursor: None }));
    };
    let index = app.artifacts.index(&run, attempt).await?;
    let all = index.beginning_with(params.prefix.as_deref().unwrap_or(""));
    let start = from.clamp(all.start, all.end);
    let end = start.saturating_add(limit).min(all.end);
    let items = index.entries().get(start..end).unwrap_or_default();
    Ok(Json(Page {
        items: items.iter().map(artifact).collect(),
        next_cursor: (end < all.end).then(|| end.to_string()),
    }))
}

fn artifact(entry: &IndexEntry) -> Artifact {
    Artifact {
        path: entry.path.as_str().to_owned(),
        bytes: entry.length,
        content_type: entry.content_type().to_owned(),
        report: entry.is_report(),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DownloadParams {
    /// Which attempt's; the last if absent.
    attempt: Option<u32>,
}

/// Download one file. It is never shown in place: what a run left is not to be trusted.
#[utoipa::path(get, path = "/api/v1/runs/{id}/artifacts/{*path}", operation_id = "download_artifact", tag = "results",
    params(("id" = String, Path), ("path" = String, Path, description = "Its path, slashes included"),
        ("Range" = Option<String>, Header, description = "One range of bytes"), DownloadParams),
    responses((status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "The part asked for", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn download(
    State(app): State<Arc<App>>,
    Loaded { run, .. }: Loaded,
    ApiQuery(params): ApiQuery<DownloadParams>,
    headers: HeaderMap,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
) -> ApiResult<Response> {
    let Ok(Path((_, path))) = path else { return Err(ApiError::not_found()) };
    let attempt = attempt_of(&run, params.attempt)?.ok_or_else(ApiError::not_found)?;
    let index = app.artifacts.index(&run, attempt).await?;
    let entry = index.find(&path).ok_or_else(ApiError::not_found)?;
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // We hand out no validators, so a conditional range can't be known to fit: the whole file is always right.
    let asked = if headers.contains_key(header::IF_RANGE) { None } else { text(header::RANGE) };
    let (status, part) = match wanted(asked, entry.length) {
        Wanted::All => (StatusCode::OK, 0..entry.length),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Wanted::Unsatisfiable => return Ok(unsatisfiable(entry.length)),
    };
    let from = entry.offset;
    let blob = key(&run, attempt.number, BlobKind::Artifacts);
    let bytes = app.artifacts.blobs().stream(&blob, from + part.start..from + part.end).await?;
    let mut response = (status, Body::from_stream(bytes)).into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(entry.content_type()));
    answer.insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(header::CONTENT_DISPOSITION, disposition::attachment(entry.path.file_name()));
    answer.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    answer.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{}", part.start, part.end - 1, entry.length);
        answer.insert(
            header::CONTENT_RANGE,
            HeaderValue::from_str(&range).map_err(|e| ApiError::internal(e.to_string()))?,
        );
    }
    Ok(response)
}

fn unsatisfiable(length: u64) -> Response {
    let detail = format!("The range lies outside of the {length} bytes that there are.");
    let mut response = ApiError::new(ProblemCode::RangeNotSatisfiable, detail).into_response();
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{length}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

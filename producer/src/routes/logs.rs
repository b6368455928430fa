//! A run's log, as text or as it grows.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use gantry_api_types::log::LogEvent;
use gantry_api_types::problem::{Problem, ProblemCode};
use gantry_domain::run::Run;
use serde::Deserialize;
use utoipa::IntoParams;

use super::artifacts::attempt_of;
use crate::artifacts::range::{Wanted, wanted};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Access, ApiQuery, Loaded};
use crate::logs::follower::{Position, follow};
use crate::logs::text::{Show, Text};
use crate::sse;
use crate::state::App;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReadParams {
    /// Which attempt; the last if absent.
    attempt: Option<u32>,
    /// `1`: Gantry's own lines too, in plain text. Events always have them.
    system: Option<Switch>,
    /// `1`: server-sent events, from the attempt's beginning, or from `Last-Event-ID`, to the run's end.
    follow: Option<Switch>,
}

/// `1` or `0`, also written as words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
enum Switch {
    #[serde(rename = "1", alias = "true")]
    On,
    #[serde(rename = "0", alias = "false")]
    Off,
}

/// Read the log of one attempt: as plain text, whole or in part, or followed live.
///
/// Plain text is what is there so far, the bytes as they were written. With `follow=1` come `log` events (a `LogEvent`
/// each, its id is `attempt:offset` behind it), `attempt` when the run is tried again, and a last `end` with the run.
#[utoipa::path(get, path = "/api/v1/runs/{id}/logs", operation_id = "read_log", tag = "results",
    params(("id" = String, Path), ReadParams,
        ("Range" = Option<String>, Header, description = "One range of bytes of the plain text"),
        ("Last-Event-ID" = Option<String>, Header, description = "Go on behind this event; wins over `attempt`")),
    responses(
        (status = 200, description = "The log, or its events", content(
            (String = "text/plain"), (LogEvent = "text/event-stream"))),
        (status = 206, description = "The part asked for", body = String, content_type = "text/plain"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn read(
    State(app): State<Arc<App>>,
    Loaded { run, .. }: Loaded,
    access: Access,
    ApiQuery(params): ApiQuery<ReadParams>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    if params.follow == Some(Switch::On) {
        let position = position(&run, params.attempt, &headers)?;
        return Ok(sse::response(follow(app, &run, position, access)));
    }
    let show = if params.system == Some(Switch::On) { Show::Everything } else { Show::Output };
    let Some(attempt) = attempt_of(&run, params.attempt)? else { return empty(&headers) };
    plain(app.logs.text(&run, attempt, show).await?, &headers).await
}

/// Where a follower begins.
fn position(run: &Run, attempt: Option<u32>, headers: &HeaderMap) -> ApiResult<Position> {
    if let Some(id) = headers.get(LAST_EVENT_ID) {
        let position = id.to_str().unwrap_or_default().parse::<Position>()?;
        if run.attempts.iter().any(|attempt| attempt.number == position.attempt) {
            return Ok(position);
        }
        let detail = format!("`Last-Event-ID`: this run has no attempt {}.", position.attempt);
        return Err(ApiError::invalid_parameter(detail));
    }
    // Attempts count from 1; none yet: the first one to come.
    let attempt = attempt_of(run, attempt)?.map_or(0, |attempt| attempt.number);
    Ok(Position { attempt, offset: 0 })
}

/// Nothing we hand out validates a text that grows, so a conditional range never applies.
fn range(headers: &HeaderMap) -> Option<&str> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    text(header::RANGE).filter(|_| !headers.contains_key(header::IF_RANGE))
}

fn text_headers() -> [(HeaderName, HeaderValue); 2] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
    ]
}

fn unsatisfiable(length: u64) -> Response {
    let detail = format!("The text has {length} bytes so far.");
    let mut response = ApiError::new(ProblemCode::RangeNotSatisfiable, detail).into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

/// The log of a run that was never claimed.
fn empty(headers: &HeaderMap) -> ApiResult<Response> {
    match wanted(range(headers), 0) {
        Wanted::Unsatisfiable => Ok(unsatisfiable(0)),
        Wanted::All | Wanted::Part(_) => Ok((text_headers(), Body::empty()).into_response()),
    }
}

async fn plain(mut text: Text, headers: &HeaderMap) -> ApiResult<Response> {
    let (part, length, content_range) = match range(headers) {
        None => (None, text.known_length().await?, None),
        Some(header) => {
            let length = text.length().await?;
            match wanted(Some(header), length) {
                Wanted::Unsatisfiable => return Ok(unsatisfiable(length)),
                Wanted::All => (None, Some(length), None),
                Wanted::Part(part) => {
                    let value = format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1));
                    (Some(part.clone()), Some(part.end - part.start), Some(value))
                }
            }
        }
    };
    let mut pieces = Box::pin(text.stream(part));
    // What fails at once is an answer of its own.
    let first = pieces.next().await.transpose()?;
    let rest = pieces.map(|piece| {
        piece.map_err(|error| {
            tracing::error!(?error, "an answer was cut off");
            std::io::Error::other("the log cannot be read any further")
        })
    });
    let body = Body::from_stream(futures::stream::iter(first.map(Ok)).chain(rest));
    let status = if content_range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = (status, text_headers(), body).into_response();
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    if let Some(value) = content_range.and_then(|value| HeaderValue::from_str(&value).ok()) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

//! Server-sent events: their form, and what every stream of them has in common.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::Stream;
use serde::Serialize;

/// How often a silent stream says that it lives.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream begins with, so that the answer's head goes out at once.
pub const HELLO: Bytes = Bytes::from_static(b": hello\n\n");
pub const ALIVE: Bytes = Bytes::from_static(b": alive\n\n");
/// What a stream ends with that is to be resumed.
pub const COME_BACK: Bytes = Bytes::from_static(b"retry: 1000\n\n");

/// One event. `name` and `id` are ours and hold no line ends; JSON never does.
pub fn event(name: &str, id: Option<&str>, data: &impl Serialize) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    match serde_json::to_string(data) {
        Ok(data) => format!("event: {name}\n{id}data: {data}\n\n").into(),
        Err(error) => {
            tracing::error!(event = name, %error, "an event cannot be written");
            COME_BACK
        }
    }
}

/// The answer that a stream of events is.
pub fn response(events: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    use futures::StreamExt as _;
    let body = Body::from_stream(events.map(Ok::<_, Infallible>));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies that gather answers would hold live events back.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

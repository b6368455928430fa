//! Gives every request an id that its answer and its log lines carry.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use gantry_domain::trace::TraceContext;
use tracing::Instrument as _;

use super::ClientAddress;
use crate::state::App;
use crate::trace;

/// What is known of the request being answered.
struct About {
    id: String,
    trace: Option<TraceContext>,
    from: ClientAddress,
}

tokio::task_local! {
    static ABOUT: About;
}

const HEADER: &str = "x-request-id";

/// The id of the request being answered; empty outside of one.
pub fn current() -> String {
    ABOUT.try_with(|about| about.id.clone()).unwrap_or_default()
}

/// The trace that what follows from the request belongs to: as it goes on here, or else as the caller named it.
pub fn trace() -> Option<TraceContext> {
    let here = TraceContext::from_headers(&gantry_service_kit::telemetry::trace::current());
    here.or_else(|| ABOUT.try_with(|about| about.trace.clone()).ok().flatten())
}

/// Where the request being answered comes from; `None` outside of one.
pub fn client() -> Option<ClientAddress> {
    ABOUT.try_with(|about| about.from).ok()
}

/// Takes the caller's id if it is a plain one, else makes one.
pub async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).filter(|id| plain(id));
    let id = match given {
        Some(id) => id.to_owned(),
        None => format!("{:032x}", rand::random::<u128>()),
    };
    let span = trace::of_request(&request, &id);
    let header = HeaderValue::from_str(&id).ok();
    let from = ClientAddress::of(request.headers(), request.extensions(), app.config.http.trusted_proxies);
    let about = About { id, trace: trace::of_headers(request.headers()), from };
    let mut response = ABOUT.scope(about, next.run(request).instrument(span.clone())).await;
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("error.type", response.status().as_str());
    }
    if let Some(header) = header {
        response.headers_mut().insert(HEADER, header);
    }
    response
}

/// No caller writes into our log lines.
fn plain(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

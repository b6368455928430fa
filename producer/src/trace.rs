//! What requests and runs are called in traces and log lines: which spans there are, and how a run's trace goes on when
//! its next step happens later, or in another replica.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, Method};
use gantry_domain::run::Run;
use gantry_domain::trace::TraceContext;
use gantry_service_kit::telemetry::trace;
use tracing::Span;
use tracing::field::{Empty, display};

/// Asked for so often that their spans would hide all others. They are no part of a run's story: pieces of a log are
/// counted, not traced.
const UNTRACED: [&str; 7] = [
    "none",
    "/metrics",
    "/health",
    "/health/live",
    "/health/ready",
    "/worker/v1/heartbeat",
    "/worker/v1/runs/{run}/logs",
];

/// The span of a request: a part of the caller's trace, if it named one.
pub fn of_request(request: &Request, request_id: &str) -> Span {
    let (method, route) = (known_method(request.method()), route(request));
    if UNTRACED.contains(&route) {
        return tracing::info_span!(target: "untraced", "request", request.id = request_id, run.id = Empty, org.id = Empty);
    }
    let span = tracing::info_span!(
        "request",
        request.id = request_id,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        error.type = Empty,
        run.id = Empty,
        org.id = Empty,
    );
    trace::continue_from_request(&span, request.headers());
    span
}

/// Which route a request met, as it was declared; labels and span names are few.
pub fn route(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str)
}

/// Callers may invent methods.
pub fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The request being answered is about this run.
pub fn about(run: &Run) {
    let span = Span::current();
    span.record("run.id", display(run.id)).record("org.id", display(run.organization));
}

/// The context that a request carries, whether or not this process makes spans of its own.
pub fn of_headers(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    TraceContext::new(text(TraceContext::PARENT)?, text(TraceContext::STATE))
}

/// The span of a step that no request takes, in the trace of the request that created the run.
pub fn continued(span: Span, run: &Run) -> Span {
    if let Some(context) = run.trigger.trace.as_ref().filter(|_| !span.is_disabled()) {
        trace::continue_from(&span, &context.to_headers());
    }
    span
}

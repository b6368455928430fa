//! What every answer tells browsers: show nothing in frames, run nothing, guess nothing, pass nothing on. A route that
//! needs more says so itself, and is not overruled.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::Response;

use crate::config::Origin;
use crate::state::App;

/// Nothing of an answer that is data is to be carried out.
const DATA: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The reference brings its own scripts, and styles its elements from them.
const REFERENCE: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
                         base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// A year, as browsers' own lists ask for.
const HSTS: &str = "max-age=31536000";

/// Adds what the answer does not say itself.
pub async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let policy = if request.uri().path().starts_with("/api/docs") { REFERENCE } else { DATA };
    let https = app.config.http.own.as_ref().is_some_and(Origin::is_https);
    let mut response = next.run(request).await;
    tell(response.headers_mut(), policy, https);
    response
}

fn tell(headers: &mut HeaderMap, policy: &'static str, https: bool) {
    let mut say = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    say(header::CACHE_CONTROL, "no-store");
    say(header::CONTENT_SECURITY_POLICY, policy);
    say(header::X_FRAME_OPTIONS, "DENY");
    say(header::REFERRER_POLICY, "no-referrer");
    say(RESOURCE_POLICY, "same-origin");
    if https {
        say(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
}

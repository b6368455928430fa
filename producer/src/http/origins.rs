//! Pages of other origins change nothing here. Browsers ask before they send most things, but not before all (forms, plain
//! text), and what comes may carry a cookie: so whatever is about to change something says where it comes from, or is no
//! page.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use gantry_api_types::problem::ProblemCode;

use crate::config::{HttpConfig, Origin};
use crate::error::ApiError;
use crate::state::App;

/// Refuses what a page of another origin sends to change something.
pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if reads || may_write(&app.config.http, &request) {
        return next.run(request).await;
    }
    let detail = "A page of this origin may not change anything here. If it is yours, add its origin to http.cors_origins \
                  (GANTRY_HTTP_CORS_ORIGINS).";
    ApiError::new(ProblemCode::ForeignOrigin, detail).into_response()
}

fn may_write(config: &HttpConfig, request: &Request) -> bool {
    let headers = request.headers();
    let Some(origin) = headers.get(ORIGIN) else { return true };
    // Browsers write it themselves and let no page do so: right even where a proxy changes the host.
    if headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin") {
        return true;
    }
    let Some(origin) = origin.to_str().ok().and_then(|text| text.parse::<Origin>().ok()) else {
        return false;
    };
    let listed = config.cors_origins.iter().chain(&config.own).any(|known| *known == origin);
    listed || is_own(&origin, request.uri().authority(), headers)
}

/// The scheme is not compared: behind a proxy that speaks TLS we do not see ours.
fn is_own(origin: &Origin, asked: Option<&Authority>, headers: &HeaderMap) -> bool {
    let host = || headers.get(HOST)?.to_str().ok();
    let Some(host) = asked.map(Authority::as_str).or_else(host) else { return false };
    ["http", "https"].iter().any(|scheme| format!("{scheme}://{host}").parse().as_ref() == Ok(origin))
}

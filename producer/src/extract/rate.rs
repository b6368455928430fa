//! How fast a caller may change things: counted once per request, after authentication, for the key and for its
//! organization. Reading is not limited.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use gantry_domain::run::Actor;
use gantry_ratelimit::{Decision, LimitKey};

use crate::error::ApiError;
use crate::services::accept::Caller;
use crate::state::App;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// What was decided about the request being answered: extractors may ask for the caller more than once.
#[derive(Clone, Default)]
struct Standing(Arc<OnceLock<Decision>>);

/// Counts a request that changes something; refuses it when it is one too many.
pub async fn admit(parts: &Parts, app: &App, caller: &Caller) -> Result<(), ApiError> {
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let standing = parts.extensions.get::<Standing>();
    if standing.is_some_and(|standing| standing.0.get().is_some()) {
        return Ok(());
    }
    let Some(decision) = decide(app, caller).await else { return Ok(()) };
    if let Some(standing) = standing {
        let _ = standing.0.set(decision);
    }
    if decision.allowed { Ok(()) } else { Err(ApiError::rate_limited(seconds(decision.retry_after))) }
}

/// The decision of the limit that is nearest; `None` without limits.
async fn decide(app: &App, caller: &Caller) -> Option<Decision> {
    let (limits, limiter) = (&app.config.rate_limits, &app.parts.limiter);
    let of_key = match caller.actor {
        Actor::Key(key) => limits.key.map(|limit| ("key", LimitKey::ApiKey(caller.organization, key), limit)),
        Actor::User(_) | Actor::System => None,
    };
    let of_organization =
        limits.organization.map(|limit| ("organization", LimitKey::Organization(caller.organization), limit));
    let mut nearest: Option<Decision> = None;
    // The key first: what one key is refused costs its organization nothing.
    for (name, key, limit) in of_key.into_iter().chain(of_organization) {
        let decision = limiter.check(&key, limit, NonZeroU32::MIN).await;
        if !decision.allowed {
            metrics::counter!("gantry_rate_limited_total", "limit" => name).increment(1);
            return Some(decision);
        }
        if nearest.is_none_or(|nearest| decision.remaining < nearest.remaining) {
            nearest = Some(decision);
        }
    }
    nearest
}

/// Rounded up: who comes back then is let through.
fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// Lets every answer to a counted request say how much is left.
pub async fn layer(mut request: Request, next: Next) -> Response {
    let standing = Standing::default();
    request.extensions_mut().insert(standing.clone());
    let mut response = next.run(request).await;
    if let Some(decision) = standing.0.get() {
        tell(response.headers_mut(), decision);
    }
    response
}

fn tell(headers: &mut HeaderMap, decision: &Decision) {
    headers.insert(LIMIT, HeaderValue::from(decision.limit));
    headers.insert(REMAINING, HeaderValue::from(decision.remaining));
    headers.insert(RESET, HeaderValue::from(seconds(decision.reset)));
}

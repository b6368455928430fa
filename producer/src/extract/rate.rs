//! How fast a caller may go on: counted once per request, after authentication, for the key or the person and for the
//! organization; runs that are created are counted once more. The counts are shared by all replicas.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use gantry_domain::id::OrganizationId;
use gantry_domain::run::Actor;
use gantry_ratelimit::{Decision, Limit, LimitKey};

use crate::access::Caller;
use crate::error::ApiError;
use crate::services::allowances::{self, Allowance};
use crate::state::App;

pub const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
pub const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
pub const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// What was decided about the request being answered: extractors may ask for the caller more than once.
#[derive(Clone, Default)]
struct Standing(Arc<Mutex<Option<Decision>>>);

impl Standing {
    fn get(&self) -> Option<Decision> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limit that is nearest is the one to tell.
    fn add(&self, decision: Decision) {
        let mut nearest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *nearest = Some(nearer(*nearest, decision));
    }
}

fn nearer(known: Option<Decision>, decision: Decision) -> Decision {
    match known {
        Some(known) if decision.allowed && known.remaining <= decision.remaining => known,
        _ => decision,
    }
}

tokio::task_local! {
    static STANDING: Standing;
}

/// Counts a request; refuses it when it is one too many. Only requests count: a stream whose access is looked at again
/// was counted when it began.
pub async fn admit(app: &App, organization: Option<OrganizationId>, actor: Actor) -> Result<(), ApiError> {
    let Ok(standing) = STANDING.try_with(Standing::clone) else { return Ok(()) };
    if standing.get().is_some() {
        return Ok(());
    }
    let limits = &app.config.rate_limits;
    let of_caller = match (actor, organization) {
        (Actor::Key(key), Some(organization)) => {
            limits.key.map(|limit| ("key", LimitKey::ApiKey(organization, key), limit))
        }
        (Actor::User(user), _) => limits.account.map(|limit| ("account", LimitKey::Account(user), limit)),
        (Actor::Key(_) | Actor::System, _) => None,
    };
    // The key first: what one key is refused costs its organization nothing.
    if let Some((name, key, limit)) = of_caller {
        count(app, &standing, name, &key, limit).await?;
    }
    let Some(organization) = organization else { return Ok(()) };
    match allowances::of(app, organization).await.requests {
        Some(limit) => {
            count(app, &standing, "organization", &LimitKey::Organization(organization), limit).await
        }
        None => Ok(()),
    }
}

/// Counts a run that somebody wants to create; refuses it when it is one too many.
pub async fn admit_run(app: &App, caller: &Caller, allowance: &Allowance) -> Result<(), ApiError> {
    let Some(limit) = allowance.run_creations else { return Ok(()) };
    let standing = STANDING.try_with(Standing::clone).unwrap_or_default();
    count(app, &standing, "new_run", &LimitKey::RunCreation(caller.organization), limit).await
}

async fn count(
    app: &App,
    standing: &Standing,
    name: &'static str,
    key: &LimitKey,
    limit: Limit,
) -> Result<(), ApiError> {
    let decision = app.parts.limiter.check(key, limit, NonZeroU32::MIN).await;
    standing.add(decision);
    if decision.allowed {
        return Ok(());
    }
    metrics::counter!("gantry_rate_limited_total", "limit" => name).increment(1);
    Err(ApiError::rate_limited(seconds(decision.retry_after)))
}

/// Rounded up: who comes back then is let through.
pub fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// Lets every answer to a counted request say how much is left.
pub async fn layer(request: Request, next: Next) -> Response {
    let standing = Standing::default();
    let mut response = STANDING.scope(standing.clone(), next.run(request)).await;
    if let Some(decision) = standing.get() {
        tell(response.headers_mut(), &decision);
    }
    response
}

/// Says what was decided.
pub fn tell(headers: &mut HeaderMap, decision: &Decision) {
    headers.insert(LIMIT, HeaderValue::from(decision.limit));
    headers.insert(REMAINING, HeaderValue::from(decision.remaining));
    headers.insert(RESET, HeaderValue::from(seconds(decision.reset)));
}

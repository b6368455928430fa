//! Who calls: an API key for the public API, the worker token for the worker API. The tenant comes from the credential,
//! never from the request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use gantry_api_types::problem::ProblemCode;
use gantry_api_types::worker::{OLDEST_PROTOCOL, PROTOCOL, PROTOCOL_HEADER};
use gantry_domain::identity::ApiKey;
use gantry_domain::run::{Actor, LeaseToken};

use crate::error::ApiError;
use crate::extract::rate;
use crate::services::accept::Caller;
use crate::services::credentials;
use crate::state::App;
use crate::worker_tokens::Allowed;

/// How long a looked-up key is believed: a revoked one works that much longer at most.
const BELIEVED_FOR: Duration = Duration::from_secs(3);
const MAX_CACHED: usize = 10_000;

/// Keys looked up a moment ago, by the hash of their secret.
#[derive(Default)]
pub struct KeyCache(Mutex<HashMap<[u8; 32], (ApiKey, Instant)>>);

impl KeyCache {
    async fn look_up(&self, app: &App, hash: [u8; 32]) -> Result<Option<ApiKey>, ApiError> {
        let cached = {
            let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            keys.get(&hash).filter(|(_, at)| at.elapsed() < BELIEVED_FOR).map(|(key, _)| key.clone())
        };
        if cached.is_some() {
            return Ok(cached);
        }
        let found = app.parts.stores.keys.by_hash(&hash).await?;
        if let Some(key) = &found {
            let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if keys.len() >= MAX_CACHED {
                keys.retain(|_, (_, at)| at.elapsed() < BELIEVED_FOR);
            }
            keys.insert(hash, (key.clone(), Instant::now()));
        }
        Ok(found)
    }
}

fn unauthorized(detail: &str) -> ApiError {
    ApiError::new(ProblemCode::Unauthorized, detail)
}

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let secret = bearer(parts)
            .ok_or_else(|| unauthorized("Send an API key: `Authorization: Bearer gantry_…`."))?;
        let refused =
            || unauthorized("This API key is not valid. Check that it was copied whole and not revoked.");
        if !credentials::looks_like_api_key(secret) {
            return Err(refused());
        }
        let key = app.keys.look_up(app, credentials::hash(secret)).await?.ok_or_else(refused)?;
        if key.check(app.now()).is_err() {
            return Err(refused());
        }
        let caller = Self { organization: key.organization, actor: Actor::Key(key.id) };
        rate::admit(parts, app, &caller).await?;
        Ok(caller)
    }
}

/// Proof that a worker calls, and for which pools.
pub struct WorkerAuth(pub Allowed);

impl FromRequestParts<Arc<App>> for WorkerAuth {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let allowed = bearer(parts).and_then(|token| app.worker_tokens.check(token));
        allowed.map(Self).ok_or_else(|| unauthorized("Workers authenticate with the worker token."))
    }
}

/// Proof that the worker speaks a version of the protocol that is understood here; asked before something begins. What
/// goes on already is not broken off.
pub struct Spoken;

impl FromRequestParts<Arc<App>> for Spoken {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        let spoken = match parts.headers.get(PROTOCOL_HEADER) {
            None => Some(1),
            Some(version) => version.to_str().ok().and_then(|version| version.parse::<u32>().ok()),
        };
        let what = match spoken {
            Some(OLDEST_PROTOCOL..=PROTOCOL) => return Ok(Self),
            Some(version @ 0..OLDEST_PROTOCOL) => {
                format!("version {version}, which is too old: upgrade the worker")
            }
            Some(version) => format!("version {version}, which is too new: upgrade the producers first"),
            None => "no version that can be read".to_owned(),
        };
        Err(ApiError::unsupported_protocol(format!(
            "This producer understands versions {OLDEST_PROTOCOL} to {PROTOCOL} of the worker protocol; \
             the worker speaks {what}."
        )))
    }
}

/// The lease that a call about an attempt carries.
pub struct Lease(pub LeaseToken);

impl FromRequestParts<Arc<App>> for Lease {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        WorkerAuth::from_request_parts(parts, app).await?;
        let token =
            parts.headers.get(gantry_api_types::worker::LEASE_HEADER).and_then(|value| value.to_str().ok());
        token.map(|token| Self(LeaseToken::from_text(token))).ok_or_else(ApiError::stale)
    }
}

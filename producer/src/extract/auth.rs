//! Proof that a worker calls: the worker token, the version of the protocol, the lease.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use gantry_api_types::worker::{OLDEST_PROTOCOL, PROTOCOL, PROTOCOL_HEADER};
use gantry_domain::run::LeaseToken;

use crate::access::{bearer, unauthorized};
use crate::error::ApiError;
use crate::state::App;
use crate::worker_tokens::Allowed;

/// Proof that a worker calls, and for which pools.
pub struct WorkerAuth(pub Allowed);

impl FromRequestParts<Arc<App>> for WorkerAuth {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let allowed = bearer(&parts.headers).and_then(|token| app.worker_tokens.check(token));
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

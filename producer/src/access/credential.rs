//! What a request presents.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use gantry_api_types::problem::ProblemCode;
use gantry_credentials::jwt::{AccessTokens, Subject};
use gantry_domain::time::Timestamp;

use crate::error::{ApiError, ApiResult};
use crate::services::credentials;

/// A credential that is one of ours by its looks; whether it is good is for the store to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// An API key, by the hash of its secret.
    Key([u8; 32]),
    /// A genuine access token.
    Session { subject: Subject, expires_at: Timestamp },
}

/// The answer to every credential that is not good, whatever is wrong with it.
pub fn unauthorized(detail: &str) -> ApiError {
    ApiError::new(ProblemCode::Unauthorized, detail)
}

pub fn refused() -> ApiError {
    unauthorized(
        "This API key or access token is not valid. Check that it was copied whole and not revoked, or sign in again.",
    )
}

/// What stands behind `Authorization: Bearer`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl Credential {
    pub fn of(headers: &HeaderMap, tokens: &AccessTokens) -> ApiResult<Self> {
        let secret = bearer(headers).ok_or_else(|| {
            unauthorized("Send an API key or an access token: `Authorization: Bearer gantry_…`.")
        })?;
        if credentials::looks_like_api_key(secret) {
            return Ok(Self::Key(credentials::hash(secret)));
        }
        let claims = tokens.verify(secret).map_err(|_| refused())?;
        Ok(Self::Session { subject: claims.subject, expires_at: claims.expires_at })
    }
}

//! Access that lasts: a stream that goes on for hours ends soon after its key was revoked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use gantry_api_types::problem::ProblemCode;

use crate::error::ApiError;
use crate::services::accept::Caller;
use crate::state::App;

/// How long access is believed before it is looked at again. Keys are believed for three seconds more, so that what was
/// taken away is gone within five.
const BELIEVED_FOR: Duration = Duration::from_secs(2);

/// The caller's access, to be asked again and again.
pub struct Access {
    /// A request with nothing but the credential.
    parts: Parts,
    checked: Instant,
    ended: bool,
}

impl FromRequestParts<Arc<App>> for Access {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        Caller::from_request_parts(parts, app).await?;
        let (mut bare, ()) = axum::http::Request::new(()).into_parts();
        if let Some(credential) = parts.headers.get(AUTHORIZATION) {
            bare.headers.insert(AUTHORIZATION, credential.clone());
        }
        Ok(Self { parts: bare, checked: Instant::now(), ended: false })
    }
}

impl Access {
    /// Whether it has been taken away. An outage of the store takes nothing away.
    pub async fn ended(&mut self, app: &Arc<App>) -> bool {
        if !self.ended && self.checked.elapsed() >= BELIEVED_FOR {
            let caller = Caller::from_request_parts(&mut self.parts, app).await;
            self.ended = caller.is_err_and(|error| error.code == ProblemCode::Unauthorized);
            self.checked = Instant::now();
        }
        self.ended
    }

    /// Resolves once it has been taken away, for streams that have nothing to say meanwhile. May be dropped.
    pub async fn until_ended(&mut self, app: &Arc<App>) {
        while !self.ended(app).await {
            tokio::time::sleep(BELIEVED_FOR.saturating_sub(self.checked.elapsed())).await;
        }
    }
}

//! Access that lasts: a stream that goes on for hours ends soon after what opened it was taken away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use gantry_api_types::problem::ProblemCode;

use super::caller::needs_of;
use crate::access::{Caller, Credential, Identity, Needs};
use crate::error::{ApiError, ApiResult};
use crate::state::App;

/// How long access is believed before it is looked at again. What was looked up is believed for three seconds more, so that
/// what was taken away is gone within five.
const BELIEVED_FOR: Duration = Duration::from_secs(2);

/// The caller's access, to be asked again and again.
pub struct Access {
    credential: Credential,
    needs: Needs,
    checked: Instant,
    ended: bool,
}

impl FromRequestParts<Arc<App>> for Access {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        Caller::from_request_parts(parts, app).await?;
        let credential = Credential::of(&parts.headers, &app.identity.tokens())?;
        Ok(Self { credential, needs: needs_of(parts)?, checked: Instant::now(), ended: false })
    }
}

impl Access {
    /// Whether it has been taken away. An outage of the store takes nothing away.
    pub async fn ended(&mut self, app: &App) -> bool {
        if !self.ended && self.checked.elapsed() >= BELIEVED_FOR {
            let gone =
                |error: ApiError| matches!(error.code, ProblemCode::Unauthorized | ProblemCode::Forbidden);
            self.ended = self.look(app).await.is_err_and(gone);
            self.checked = Instant::now();
        }
        self.ended
    }

    async fn look(&self, app: &App) -> ApiResult<()> {
        let identity = Identity::of(app, self.credential).await?;
        identity.admit(self.needs)?;
        identity.caller().map(drop)
    }

    /// Resolves once it has been taken away, for streams that have nothing to say meanwhile. May be dropped.
    pub async fn until_ended(&mut self, app: &App) {
        while !self.ended(app).await {
            tokio::time::sleep(BELIEVED_FOR.saturating_sub(self.checked.elapsed())).await;
        }
    }
}

//! The run that a path names, loaded for the caller's organization: another tenant's run does not exist.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use gantry_domain::id::RunId;
use gantry_domain::run::Run;
use tracing::Span;
use tracing::field::display;

use crate::access::Caller;
use crate::error::ApiError;
use crate::state::App;

/// The id in the path, for routes whose service does its own guarded write.
pub struct RunPath {
    pub caller: Caller,
    pub id: RunId,
}

/// The caller and the run as it is now.
pub struct Loaded {
    pub caller: Caller,
    pub run: Run,
}

fn id_in(parts: &Parts) -> Option<RunId> {
    // `/api/v1/runs/{id}/…` and `/worker/v1/runs/{id}/…`.
    parts.uri.path().split('/').nth(4)?.parse().ok()
}

impl FromRequestParts<Arc<App>> for RunPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let id = id_in(parts).ok_or_else(ApiError::not_found)?;
        let span = Span::current();
        span.record("run.id", display(id)).record("org.id", display(caller.organization));
        Ok(Self { caller, id })
    }
}

impl FromRequestParts<Arc<App>> for Loaded {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let RunPath { caller, id } = RunPath::from_request_parts(parts, app).await?;
        let run =
            app.parts.stores.runs.get(caller.organization, id).await?.ok_or_else(ApiError::not_found)?;
        Ok(Self { caller, run })
    }
}

/// The id in a worker route's path.
pub struct WorkerRunPath(pub RunId);

impl FromRequestParts<Arc<App>> for WorkerRunPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Path(id) = Path::<String>::from_request_parts(parts, app).await.map_err(|_| ApiError::stale())?;
        let id = id.parse().map_err(|_| ApiError::stale())?;
        Span::current().record("run.id", display(id));
        Ok(Self(id))
    }
}

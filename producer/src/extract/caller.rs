//! Who calls the public API: a person with an access token, or a script with an API key. The tenant comes from the credential,
//! never from the request, and whoever gets here may call the route.

use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, OptionalFromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use gantry_domain::id::OrganizationId;
use gantry_domain::identity::{Session, User};

use crate::access::{Caller, Credential, Identity, Needs, needs, unauthorized};
use crate::error::{ApiError, ApiResult};
use crate::extract::rate;
use crate::state::App;

/// What the route that was matched needs.
pub fn needs_of(parts: &Parts) -> ApiResult<Needs> {
    let route = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    route.and_then(|route| needs(&parts.method, route)).ok_or_else(|| {
        ApiError::internal(format!("no line in the table of needs for {} {route:?}", parts.method))
    })
}

impl FromRequestParts<Arc<App>> for Identity {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let credential = Credential::of(&parts.headers, &app.identity.tokens())?;
        let identity = Self::of(app, credential).await?;
        rate::admit(app, identity.organization, identity.actor()).await?;
        identity.admit(needs_of(parts)?)?;
        parts.extensions.insert(identity.clone());
        Ok(identity)
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        Identity::from_request_parts(parts, app).await?.caller()
    }
}

/// Somebody who signed in, for what belongs to the person.
pub struct Person {
    pub user: User,
    pub session: Session,
    /// Where the session works at the moment.
    pub organization: Option<OrganizationId>,
}

impl FromRequestParts<Arc<App>> for Person {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let identity = Identity::from_request_parts(parts, app).await?;
        let (user, session) = identity.user().zip(identity.session()).ok_or_else(|| {
            unauthorized("This is for people: sign in, and send the access token instead of an API key.")
        })?;
        Ok(Self { user: user.clone(), session: session.clone(), organization: identity.organization })
    }
}

impl OptionalFromRequestParts<Arc<App>> for Person {
    type Rejection = ApiError;

    /// `None` without a credential; one that is not good is refused.
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Option<Self>> {
        if !parts.headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        <Self as FromRequestParts<_>>::from_request_parts(parts, app).await.map(Some)
    }
}

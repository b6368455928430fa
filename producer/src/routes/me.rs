//! The caller: who he is, his password and his sessions.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use gantry_api_types::identity::{ChangeMe, ChangePassword, Me, Sessions};
use gantry_api_types::problem::Problem;
use gantry_domain::id::{OrganizationId, SessionId};
use gantry_domain::run::Actor;

use super::auth::{agent, deliverable, signed_in};
use super::view;
use crate::access::Identity;
use crate::error::{ApiError, ApiResult};
use crate::extract::{ApiJson, ApiPath, Person};
use crate::services::identity::{organizations, passwords, profile, sessions};
use crate::state::App;

/// Show who calls, and what the credential allows.
#[utoipa::path(get, path = "/api/v1/me", operation_id = "show_me", tag = "auth",
    responses((status = 200, body = Me),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn show(State(app): State<Arc<App>>, identity: Identity) -> ApiResult<Json<Me>> {
    Ok(Json(me(&app, &identity).await?))
}

async fn me(app: &App, identity: &Identity) -> ApiResult<Me> {
    let user = identity.user().ok_or_else(ApiError::not_found)?;
    let all = app.parts.stores.organizations.of_user(user.id).await?;
    let of = |organization: &gantry_domain::identity::Organization| {
        organization.member(user.id).map(|member| view::membership(organization, member.role))
    };
    let mut organizations: Vec<_> = all.iter().filter_map(of).collect();
    if identity.key().is_some() {
        organizations.retain(|membership| Some(membership.id) == identity.organization);
    }
    let here = organizations.iter().find(|membership| Some(membership.id) == identity.organization).cloned();
    Ok(Me {
        user: view::user(user),
        organization: here,
        permissions: identity.permissions.iter().map(|permission| permission.as_str().to_owned()).collect(),
        organizations,
        key: identity.key().map(view::key),
    })
}

/// Change one's name.
#[utoipa::path(patch, path = "/api/v1/me", operation_id = "change_me", tag = "auth", request_body = ChangeMe,
    responses((status = 200, body = gantry_api_types::identity::User),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn change(
    State(app): State<Arc<App>>,
    person: Person,
    body: ApiJson<ChangeMe>,
) -> ApiResult<Json<gantry_api_types::identity::User>> {
    let user = profile::rename(&app, person.user, person.organization, &body.value.name).await?;
    Ok(Json(view::user(&user)))
}

/// Change one's password. Every session ends; the answer begins another.
#[utoipa::path(post, path = "/api/v1/me/password", operation_id = "change_password", tag = "auth", request_body = ChangePassword,
    responses((status = 200, body = gantry_api_types::identity::SignedIn),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn password(
    State(app): State<Arc<App>>,
    person: Person,
    headers: HeaderMap,
    body: ApiJson<ChangePassword>,
) -> ApiResult<Response> {
    let client = sessions::client(agent(&headers));
    let ChangePassword { current, new, delivery } = &body.value;
    deliverable(&app, *delivery)?;
    let signed = passwords::change_own(&app, person.user, &current.0, &new.0, client).await?;
    signed_in(&app, &signed, *delivery)
}

/// List one's sessions that go on, newest first.
#[utoipa::path(get, path = "/api/v1/me/sessions", operation_id = "list_sessions", tag = "auth",
    responses((status = 200, body = Sessions),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list_sessions(State(app): State<Arc<App>>, person: Person) -> ApiResult<Json<Sessions>> {
    let all = app.parts.stores.sessions.of_user(person.user.id, 100).await?;
    let goes_on =
        |session: &&gantry_domain::identity::Session| session.check(Some(&person.user), app.now()).is_ok();
    let items = all.iter().filter(goes_on).map(|session| view::session(session, person.session.id)).collect();
    Ok(Json(Sessions { items }))
}

/// End one of one's sessions.
#[utoipa::path(delete, path = "/api/v1/me/sessions/{id}", operation_id = "revoke_session", tag = "auth", params(("id" = String, Path)),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn revoke_session(
    State(app): State<Arc<App>>,
    person: Person,
    ApiPath(id): ApiPath<SessionId>,
) -> ApiResult<StatusCode> {
    sessions::revoke(&app, &person.user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End all of one's sessions, this one included.
#[utoipa::path(delete, path = "/api/v1/me/sessions", operation_id = "revoke_sessions", tag = "auth",
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn revoke_sessions(State(app): State<Arc<App>>, person: Person) -> ApiResult<StatusCode> {
    profile::sign_out_everywhere(&app, person.user, person.organization).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Leave an organization. Its last admin cannot.
#[utoipa::path(delete, path = "/api/v1/me/organizations/{id}", operation_id = "leave_organization", tag = "organization", params(("id" = String, Path)),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn leave(
    State(app): State<Arc<App>>,
    person: Person,
    ApiPath(id): ApiPath<OrganizationId>,
) -> ApiResult<StatusCode> {
    organizations::leave(&app, Actor::User(person.user.id), id, person.user.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

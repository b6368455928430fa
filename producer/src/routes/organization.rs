//! The caller's organization: its name, its members, and who is invited.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use gantry_api_types::Page;
use gantry_api_types::identity::{
    AcceptInvitation, ChangeRole, Invitation, Invite, InvitedTo, LookUpInvitation, Member, NameOrganization,
    Organization,
};
use gantry_api_types::problem::Problem;
use gantry_domain::id::{InvitationId, UserId};

use super::auth::{agent, deliverable, signed_in};
use super::view;
use crate::access::Caller;
use crate::error::ApiResult;
use crate::extract::query::PageParams;
use crate::extract::{ApiJson, ApiPath, ApiQuery, Person};
use crate::services::identity::{invitations, organizations, sessions, sign_up};
use crate::state::App;

/// Show the organization.
#[utoipa::path(get, path = "/api/v1/organization", operation_id = "show_organization", tag = "organization",
    responses((status = 200, body = Organization),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn show(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<Organization>> {
    Ok(Json(view::organization(&organizations::get(&app, caller.organization).await?)))
}

/// Rename the organization.
#[utoipa::path(patch, path = "/api/v1/organization", operation_id = "change_organization", tag = "organization", request_body = NameOrganization,
    responses((status = 200, body = Organization),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: ApiJson<NameOrganization>,
) -> ApiResult<Json<Organization>> {
    let name = sign_up::name(&body.value.name, "/name")?;
    Ok(Json(view::organization(&organizations::rename(&app, &caller, name).await?)))
}

/// Begin another organization, as its first admin. Where signing up is closed, who operates the installation may.
#[utoipa::path(post, path = "/api/v1/organizations", operation_id = "create_organization", tag = "organization", request_body = NameOrganization,
    responses((status = 201, body = Organization),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn create(
    State(app): State<Arc<App>>,
    person: Person,
    body: ApiJson<NameOrganization>,
) -> ApiResult<Response> {
    let name = sign_up::name(&body.value.name, "/name")?;
    let organization = sign_up::found_another(&app, &person.user, name).await?;
    Ok((StatusCode::CREATED, Json(view::organization(&organization))).into_response())
}

/// List members, newest first.
#[utoipa::path(get, path = "/api/v1/organization/members", operation_id = "list_members", tag = "organization", params(PageParams),
    responses((status = 200, body = Page<Member>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn members(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(params): ApiQuery<PageParams>,
) -> ApiResult<Json<Page<Member>>> {
    let after: Option<UserId> = params.after()?;
    let limit = params.limit()? as usize;
    let (items, next) = organizations::members(&app, caller.organization, after, limit).await?;
    Ok(Json(Page {
        items: items.iter().map(|(member, user)| view::member(member, user)).collect(),
        next_cursor: next.map(|id| id.to_string()),
    }))
}

/// Change a member's role. The last admin stays one.
#[utoipa::path(patch, path = "/api/v1/organization/members/{id}", operation_id = "change_role", tag = "organization", params(("id" = String, Path)), request_body = ChangeRole,
    responses((status = 200, body = Member),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn change_role(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(id): ApiPath<UserId>,
    body: ApiJson<ChangeRole>,
) -> ApiResult<Json<Member>> {
    let (member, user) = organizations::change_role(&app, &caller, id, body.value.role).await?;
    Ok(Json(view::member(&member, &user)))
}

/// Remove a member. The last admin stays.
#[utoipa::path(delete, path = "/api/v1/organization/members/{id}", operation_id = "remove_member", tag = "organization", params(("id" = String, Path)),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn remove_member(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(id): ApiPath<UserId>,
) -> ApiResult<StatusCode> {
    organizations::remove(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Invite somebody by mail, with a link that is good once, for seven days. Inviting an address again sends another link.
#[utoipa::path(post, path = "/api/v1/organization/invitations", operation_id = "invite", tag = "organization", request_body = Invite,
    responses((status = 201, body = Invitation),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn invite(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: ApiJson<Invite>,
) -> ApiResult<Response> {
    let invitation = invitations::invite(&app, &caller, &body.value.email, body.value.role).await?;
    Ok((StatusCode::CREATED, Json(view::invitation(&invitation, app.now()))).into_response())
}

/// List invitations, newest first, whatever became of them.
#[utoipa::path(get, path = "/api/v1/organization/invitations", operation_id = "list_invitations", tag = "organization", params(PageParams),
    responses((status = 200, body = Page<Invitation>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list_invitations(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(params): ApiQuery<PageParams>,
) -> ApiResult<Json<Page<Invitation>>> {
    let (after, limit) = (params.after()?, params.limit()?);
    let page = app.parts.stores.invitations.list(caller.organization, after, limit).await?;
    Ok(Json(Page {
        items: page.items.iter().map(|invitation| view::invitation(invitation, app.now())).collect(),
        next_cursor: page.next.map(|id| id.to_string()),
    }))
}

/// Send an invitation again. The link before stops working.
#[utoipa::path(post, path = "/api/v1/organization/invitations/{id}/resend", operation_id = "resend_invitation", tag = "organization", params(("id" = String, Path)),
    responses((status = 200, body = Invitation),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn resend_invitation(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(id): ApiPath<InvitationId>,
) -> ApiResult<Json<Invitation>> {
    let invitation = invitations::resend(&app, &caller, id).await?;
    Ok(Json(view::invitation(&invitation, app.now())))
}

/// Revoke an invitation.
#[utoipa::path(delete, path = "/api/v1/organization/invitations/{id}", operation_id = "revoke_invitation", tag = "organization", params(("id" = String, Path)),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn revoke_invitation(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(id): ApiPath<InvitationId>,
) -> ApiResult<StatusCode> {
    invitations::revoke(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Look at what one is invited to, by the token of the mail.
#[utoipa::path(post, path = "/api/v1/invitations/look-up", operation_id = "look_up_invitation", tag = "organization", request_body = LookUpInvitation,
    responses((status = 200, body = InvitedTo),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn look_up_invitation(
    State(app): State<Arc<App>>,
    body: ApiJson<LookUpInvitation>,
) -> ApiResult<Json<InvitedTo>> {
    let found = invitations::look_up(&app, &body.value.token.0).await?;
    Ok(Json(InvitedTo {
        organization: found.organization.name,
        invited_by: found.invited_by,
        email: found.invitation.email.to_string(),
        role: found.invitation.role,
        expires_at: found.invitation.expires_at,
        has_account: found.has_account,
    }))
}

/// Accept an invitation: as the one who is signed in, or with a password for a new account. Begins a session in the
/// organization.
#[utoipa::path(post, path = "/api/v1/invitations/accept", operation_id = "accept_invitation", tag = "organization", request_body = AcceptInvitation,
    responses((status = 200, body = gantry_api_types::identity::SignedIn),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn accept_invitation(
    State(app): State<Arc<App>>,
    person: Option<Person>,
    headers: HeaderMap,
    body: ApiJson<AcceptInvitation>,
) -> ApiResult<Response> {
    deliverable(&app, body.value.delivery)?;
    let said = invitations::Accepting {
        token: &body.value.token.0,
        password: body.value.password.as_ref().map(|password| password.0.as_str()),
        name: body.value.name.as_deref(),
    };
    let client = sessions::client(agent(&headers));
    let signed = invitations::accept(&app, person.map(|person| person.user), said, client).await?;
    signed_in(&app, &signed, body.value.delivery)
}

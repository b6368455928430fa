//! Organizations and who belongs to them.

use gantry_domain::id::{OrganizationId, UserId};
use gantry_domain::identity::organization::MembershipError;
use gantry_domain::identity::{AuditAction, Member, Organization, OrganizationLimits, User};
use gantry_domain::role::Role;
use gantry_domain::run::Actor;

use super::audit;
use super::change::change as settle;
use crate::access::Caller;
use crate::error::{ApiError, ApiResult, sentence};
use crate::state::App;

/// Looked at together.
const KEYS: u32 = 100;

impl From<MembershipError> for ApiError {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::NotAMember => Self::not_found(),
            MembershipError::AlreadyAMember | MembershipError::LastAdmin | MembershipError::Full => {
                Self::conflict(sentence(&error))
            }
        }
    }
}

pub async fn get(app: &App, id: OrganizationId) -> ApiResult<Organization> {
    app.parts.stores.organizations.get(id).await?.ok_or_else(ApiError::not_found)
}

/// The organization before and after.
pub(super) async fn change(
    app: &App,
    id: OrganizationId,
    decide: impl Fn(&Organization) -> ApiResult<Organization> + Send,
) -> ApiResult<(Organization, Organization)> {
    let organizations = &app.parts.stores.organizations;
    let changed = settle(&**organizations, get(app, id).await?, decide).await?;
    app.identity.credentials.forget();
    Ok(changed)
}

pub async fn rename(app: &App, caller: &Caller, name: String) -> ApiResult<Organization> {
    let (before, after) =
        change(app, caller.organization, |organization| Ok(organization.rename(name.clone()))).await?;
    let entry = audit::done(app, caller, AuditAction::OrganizationChanged).to(after.id);
    audit::write(app, entry.with("from", before.name).with("to", &after.name)).await;
    Ok(after)
}

/// Sets what an organization may use; for whoever operates the installation.
pub async fn limit(app: &App, id: OrganizationId, limits: OrganizationLimits) -> ApiResult<Organization> {
    let (_, after) = change(app, id, |organization| Ok(organization.limit(limits))).await?;
    app.allowances.changed(id);
    let entry = audit::by(app, Actor::System, Some(id), AuditAction::OrganizationChanged).to(id);
    audit::write(app, entry.with("limits", format!("{limits:?}"))).await;
    Ok(after)
}

/// Members with who they are, newest first; `after` is the last of the page before.
pub async fn members(
    app: &App,
    id: OrganizationId,
    after: Option<UserId>,
    limit: usize,
) -> ApiResult<(Vec<(Member, User)>, Option<UserId>)> {
    let organization = get(app, id).await?;
    let mut left = organization.members().iter().rev().copied().peekable();
    if let Some(after) = after {
        while left.next_if(|member| member.user != after).is_some() {}
        left.next();
    }
    let page: Vec<Member> = left.by_ref().take(limit).collect();
    let next = left.peek().and_then(|_| page.last()).map(|member| member.user);
    let ids: Vec<UserId> = page.iter().map(|member| member.user).collect();
    let users = app.parts.stores.users.several(&ids).await?;
    let of =
        |member: Member| users.iter().find(|user| user.id == member.user).map(|user| (member, user.clone()));
    Ok((page.into_iter().filter_map(of).collect(), next))
}

pub async fn change_role(app: &App, caller: &Caller, user: UserId, role: Role) -> ApiResult<(Member, User)> {
    let (before, after) =
        change(app, caller.organization, |organization| Ok(organization.change_role(user, role)?)).await?;
    let was = before.member(user).map(|member| member.role.as_str()).unwrap_or_default();
    let entry = audit::done(app, caller, AuditAction::MemberRoleChanged).to(user);
    audit::write(app, entry.with("from", was).with("to", role)).await;
    let known = app.parts.stores.users.get(user).await?.ok_or_else(ApiError::not_found)?;
    Ok((after.member(user).ok_or_else(ApiError::not_found)?, known))
}

/// Sends a member away; what his keys may do in the organization is nothing from now on.
pub async fn remove(app: &App, caller: &Caller, user: UserId) -> ApiResult<()> {
    leave(app, caller.actor, caller.organization, user).await
}

/// Somebody goes, by himself or by an admin.
pub async fn leave(app: &App, by: Actor, id: OrganizationId, user: UserId) -> ApiResult<()> {
    change(app, id, |organization| Ok(organization.remove(user)?)).await?;
    // They do nothing any more; should he come back, they still do nothing.
    let mut after = None;
    loop {
        let page = app.parts.stores.keys.list(id, Some(user), after, KEYS).await?;
        for key in page.items.into_iter().filter(|key| key.revoked_at.is_none()) {
            settle(&*app.parts.stores.keys, key, |key| Ok(key.revoke(app.now()))).await?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    audit::write(app, audit::by(app, by, Some(id), AuditAction::MemberRemoved).to(user)).await;
    Ok(())
}

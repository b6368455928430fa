//! What an account says about its person, and whether it works.

use gantry_domain::id::OrganizationId;
use gantry_domain::identity::{AuditAction, User};
use gantry_domain::run::Actor;

use super::audit;
use super::change::change;
use super::sign_up::name;
use crate::error::ApiResult;
use crate::state::App;

async fn changed(app: &App, user: User, decide: impl Fn(&User) -> ApiResult<User> + Send) -> ApiResult<User> {
    let users = &app.parts.stores.users;
    let (_, user) = change(&**users, user, decide).await?;
    app.identity.credentials.forget();
    Ok(user)
}

pub async fn rename(
    app: &App,
    user: User,
    organization: Option<OrganizationId>,
    to: &str,
) -> ApiResult<User> {
    let to = name(to, "/name")?;
    let user = changed(app, user, |user| Ok(user.rename(to.clone()))).await?;
    let entry = audit::by(app, Actor::User(user.id), organization, AuditAction::ProfileChanged);
    audit::write(app, entry.to(user.id)).await;
    Ok(user)
}

pub async fn sign_out_everywhere(
    app: &App,
    user: User,
    organization: Option<OrganizationId>,
) -> ApiResult<()> {
    let user = changed(app, user, |user| Ok(user.sign_out_everywhere())).await?;
    let entry = audit::by(app, Actor::User(user.id), organization, AuditAction::SignOut);
    audit::write(app, entry.to(user.id).with("sessions", "all")).await;
    Ok(())
}

/// Lets nothing of the account work any more, or lets it work again; for whoever operates the installation.
pub async fn set_disabled(app: &App, user: User, disabled: bool) -> ApiResult<User> {
    let now = app.now();
    let user =
        changed(app, user, |user| Ok(if disabled { user.disable(now) } else { user.enable() })).await?;
    let action = if disabled { AuditAction::UserDisabled } else { AuditAction::UserEnabled };
    let organizations = app.parts.stores.organizations.of_user(user.id).await?;
    for organization in organizations {
        let entry = audit::by(app, Actor::System, Some(organization.id), action.clone());
        audit::write(app, entry.to(user.id)).await;
    }
    Ok(user)
}

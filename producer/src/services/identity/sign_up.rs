//! Making an account and an organization. Begins with a mail, so that nobody learns here who has an account, and nobody has
//! one under somebody else's address.

use std::sync::Arc;
use std::time::Duration;

use gantry_api_types::problem::ProblemCode;
use gantry_credentials::signed_link::{LinkError, Purpose};
use gantry_domain::id::{OrganizationId, UserId};
use gantry_domain::identity::session::Client;
use gantry_domain::identity::{AuditAction, Email, Organization, User};
use gantry_domain::role::Role;
use gantry_domain::run::Actor;
use gantry_mail::{AlreadySignedUp, SignUp};

use super::post::Post;
use super::sessions::{self, Signed};
use super::{audit, limits, passwords};
use crate::error::{ApiError, ApiResult};
use crate::state::App;

const PURPOSE: Purpose = Purpose::new("sign-up");
const LIFE: Duration = Duration::from_secs(3600);
/// All of them are read at every sign-in.
const MOST_ORGANIZATIONS: usize = 20;

fn must_be_open(app: &App) -> ApiResult<()> {
    match app.config.identity.open_sign_up {
        true => Ok(()),
        false => Err(ApiError::new(
            ProblemCode::Forbidden,
            "Signing up is closed here. Ask an admin of your organization for an invitation.",
        )),
    }
}

pub fn email(text: &str) -> ApiResult<Email> {
    text.parse().map_err(|error: gantry_domain::identity::email::EmailError| {
        ApiError::field("/email", error.to_string())
    })
}

/// The text as a name of something, or the field that is wrong.
pub fn name(text: &str, pointer: &str) -> ApiResult<String> {
    gantry_domain::identity::name(text).map_err(|error| ApiError::field(pointer, error.to_string()))
}

/// The name somebody gives himself, if he does.
pub fn own_name(text: Option<&str>) -> ApiResult<String> {
    text.map_or_else(|| Ok(String::new()), |text| name(text, "/name"))
}

/// Mails a link to go on. Answers before it is known whether there is an account.
pub async fn begin(app: &Arc<App>, address: &str) -> ApiResult<()> {
    must_be_open(app)?;
    Post::required(app.identity.post.as_ref())?;
    let email = email(address)?;
    limits::letter(app, &email).await?;
    let work = app.clone();
    app.identity.later(app, async move {
        let Some(post) = &work.identity.post else { return Ok(()) };
        match work.parts.stores.users.by_email(&email).await? {
            Some(_) => post.send(&email, |to, at| AlreadySignedUp.mail(to, at)),
            None => {
                // Letters and digits first: an address may have any sign in it.
                let signature = work.identity.keys.links().sign(PURPOSE, email.as_str(), LIFE);
                let token = format!("{signature}:{email}");
                post.send(&email, |to, at| SignUp { token: &token, valid_for: LIFE }.mail(to, at))
            }
        }
    })
}

/// What somebody says who goes on with signing up.
pub struct Confirmed<'a> {
    pub token: &'a str,
    pub password: &'a str,
    pub name: Option<&'a str>,
    pub organization: &'a str,
}

/// Makes the account, and its organization with it.
pub async fn confirm(app: &App, said: Confirmed<'_>, client: Client) -> ApiResult<Signed> {
    must_be_open(app)?;
    limits::admit(app, None).await?;
    let dead = |text: &str| ApiError::conflict(text.to_owned());
    let (signature, address) =
        said.token.split_once(':').ok_or_else(|| dead("This link is not valid: sign up again."))?;
    app.identity.keys.links().verify(PURPOSE, address, signature).map_err(|error| match error {
        LinkError::Expired => dead("This link has expired: sign up again."),
        LinkError::Invalid => dead("This link is not valid: sign up again."),
    })?;
    let (email, own) = (email(address)?, own_name(said.name)?);
    let organization = name(said.organization, "/organization")?;
    let user = account(app, email, own, said.password).await?;
    let organization = found(app, &user, organization).await?;
    sessions::begin(app, user, Some((organization, Role::Admin)), client).await
}

/// A new account.
pub async fn account(app: &App, email: Email, name: String, password: &str) -> ApiResult<User> {
    let hash = passwords::choose(app, password, &[email.as_str(), &name], "/password").await?;
    let user = User::new(UserId::new(), email, name, hash, app.now());
    if !app.parts.stores.users.add(&user).await? {
        return Err(ApiError::conflict("There is an account with this address: sign in."));
    }
    audit::write(app, audit::by(app, Actor::User(user.id), None, AuditAction::SignUp).to(&user.email)).await;
    Ok(user)
}

/// Another organization of somebody who has an account: where anybody may sign up, or by an admin of the organization that
/// operates the installation.
pub async fn found_another(app: &App, admin: &User, name: String) -> ApiResult<Organization> {
    if !app.config.identity.open_sign_up {
        let operators = app.identity.operators(&*app.parts.stores.auth).await?;
        let role = match operators {
            Some(operators) => app.parts.stores.organizations.role(operators, admin.id).await?,
            None => None,
        };
        if role != Some(Role::Admin) {
            return Err(ApiError::new(
                ProblemCode::Forbidden,
                "New organizations are begun by whoever operates this installation: ask an admin there.",
            ));
        }
    }
    limits::admit(app, Some(&admin.email)).await?;
    if app.parts.stores.organizations.of_user(admin.id).await?.len() >= MOST_ORGANIZATIONS {
        return Err(ApiError::conflict(format!(
            "A person belongs to {MOST_ORGANIZATIONS} organizations at most."
        )));
    }
    found(app, admin, name).await
}

/// A new organization with its first admin.
pub async fn found(app: &App, admin: &User, name: String) -> ApiResult<Organization> {
    let organization = Organization::found(OrganizationId::new(), name, admin.id, app.now());
    app.parts.stores.organizations.found(&organization).await?;
    let entry =
        audit::by(app, Actor::User(admin.id), Some(organization.id), AuditAction::OrganizationCreated);
    audit::write(app, entry.to(organization.id)).await;
    Ok(organization)
}

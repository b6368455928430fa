//! Inviting somebody by mail, and accepting. Accepting elects a person first, then makes him a member, then uses the token up:
//! whoever is interrupted goes on by accepting again.

use gantry_api_types::problem::ProblemCode;
use gantry_credentials::token::{Invitation as InvitationKind, Token};
use gantry_domain::id::InvitationId;
use gantry_domain::identity::invitation::{Accept, InvitationRefused, Invite, LIFE};
use gantry_domain::identity::organization::MembershipError;
use gantry_domain::identity::session::Client;
use gantry_domain::identity::{AuditAction, Invitation, Organization, User};
use gantry_domain::role::Role;
use gantry_domain::run::Actor;
use gantry_store::Changed;

use super::change::change;
use super::post::Post;
use super::sessions::{self, Signed};
use super::sign_up::{account, email, own_name};
use super::{audit, limits, organizations};
use crate::access::{Caller, unauthorized};
use crate::error::{ApiError, ApiResult, sentence};
use crate::state::App;

fn refused(why: InvitationRefused) -> ApiError {
    ApiError::conflict(sentence(&why))
}

/// Invites an address; one that was invited already is mailed another link, and the one before stops working.
pub async fn invite(app: &App, caller: &Caller, address: &str, role: Role) -> ApiResult<Invitation> {
    let post = Post::required(app.identity.post.as_ref())?;
    let (email, stores) = (email(address)?, &app.parts.stores);
    limits::letter_to(app, &email).await?;
    let organization = organizations::get(app, caller.organization).await?;
    if let Some(known) = stores.users.by_email(&email).await?
        && organization.member(known.id).is_some()
    {
        return Err(MembershipError::AlreadyAMember.into());
    }
    let token = Token::<InvitationKind>::new();
    let wanted =
        Invite { organization: organization.id, email: email.clone(), role, invited_by: caller.user };
    let new = Invitation::new(wanted, token.hash().0, app.now());
    let (invitation, action) = match stores.invitations.add(&new).await? {
        true => (new, AuditAction::InvitationCreated),
        false => {
            let open = stores.invitations.open(organization.id, &email).await?;
            let open =
                open.ok_or_else(|| ApiError::conflict("It was answered at this moment. Look again."))?;
            (renew(app, open, &token, role).await?, AuditAction::InvitationSentAgain)
        }
    };
    let entry = audit::done(app, caller, action).to(invitation.id);
    audit::write(app, entry.with("email", &invitation.email).with("role", role)).await;
    send(app, post, &organization, &invitation, &token).await?;
    Ok(invitation)
}

async fn renew(
    app: &App,
    open: Invitation,
    token: &Token<InvitationKind>,
    role: Role,
) -> ApiResult<Invitation> {
    let (now, hash) = (app.now(), token.hash().0);
    let decide = |invitation: &Invitation| invitation.resend(hash, role, now).map_err(refused);
    let invitations = &app.parts.stores.invitations;
    Ok(change(&**invitations, open, decide).await?.1)
}

async fn send(
    app: &App,
    post: &Post,
    organization: &Organization,
    invitation: &Invitation,
    token: &Token<InvitationKind>,
) -> ApiResult<()> {
    let by = inviter(app, invitation).await?;
    let letter = gantry_mail::Invitation {
        organization: &organization.name,
        invited_by: &by,
        role: invitation.role.as_str(),
        token: token.expose(),
        valid_for: LIFE,
    };
    post.send(&invitation.email, |to, at| letter.mail(to, at))
}

async fn inviter(app: &App, invitation: &Invitation) -> ApiResult<String> {
    let user = app.parts.stores.users.get(invitation.invited_by).await?;
    Ok(user.map(shown).unwrap_or_else(|| "somebody".to_owned()))
}

fn shown(user: User) -> String {
    if user.name.is_empty() { user.email.to_string() } else { user.name }
}

/// Mails another link.
pub async fn resend(app: &App, caller: &Caller, id: InvitationId) -> ApiResult<Invitation> {
    let post = Post::required(app.identity.post.as_ref())?;
    let open =
        app.parts.stores.invitations.get(caller.organization, id).await?.ok_or_else(ApiError::not_found)?;
    limits::letter_to(app, &open.email).await?;
    let (organization, token) = (organizations::get(app, caller.organization).await?, Token::new());
    let role = open.role;
    let invitation = renew(app, open, &token, role).await?;
    audit::write(app, audit::done(app, caller, AuditAction::InvitationSentAgain).to(id)).await;
    send(app, post, &organization, &invitation, &token).await?;
    Ok(invitation)
}

pub async fn revoke(app: &App, caller: &Caller, id: InvitationId) -> ApiResult<()> {
    let invitations = &app.parts.stores.invitations;
    let found = invitations.get(caller.organization, id).await?.ok_or_else(ApiError::not_found)?;
    let now = app.now();
    let decide = |invitation: &Invitation| invitation.revoke(now).map_err(refused);
    change(&**invitations, found, decide).await?;
    audit::write(app, audit::done(app, caller, AuditAction::InvitationRevoked).to(id)).await;
    Ok(())
}

async fn by_token(app: &App, token: &str) -> ApiResult<Invitation> {
    limits::admit(app, None).await?;
    let dead = || ApiError::conflict("This invitation is not valid: ask for another one.");
    let token = Token::<InvitationKind>::parse(token).ok_or_else(dead)?;
    app.parts.stores.invitations.by_token(&token.hash().0).await?.ok_or_else(dead)
}

/// What an invitation is to, for whoever got it.
pub struct InvitedTo {
    pub invitation: Invitation,
    pub organization: Organization,
    pub invited_by: String,
    pub has_account: bool,
}

pub async fn look_up(app: &App, token: &str) -> ApiResult<InvitedTo> {
    let invitation = by_token(app, token).await?;
    invitation.check(app.now()).map_err(refused)?;
    let organization = organizations::get(app, invitation.organization).await?;
    let invited_by = inviter(app, &invitation).await?;
    let has_account = app.parts.stores.users.by_email(&invitation.email).await?.is_some();
    Ok(InvitedTo { invitation, organization, invited_by, has_account })
}

/// What somebody says who accepts.
pub struct Accepting<'a> {
    pub token: &'a str,
    pub password: Option<&'a str>,
    pub name: Option<&'a str>,
}

/// Makes whoever is signed in a member, or else a new account; answers with a new session in the organization.
pub async fn accept(
    app: &App,
    signed_in: Option<User>,
    said: Accepting<'_>,
    client: Client,
) -> ApiResult<Signed> {
    let invitation = by_token(app, said.token).await?;
    let user = match signed_in {
        Some(user) => user,
        None => {
            invitation.check(app.now()).map_err(refused)?;
            if app.parts.stores.users.by_email(&invitation.email).await?.is_some() {
                return Err(unauthorized("This address has an account: sign in, then accept."));
            }
            let password =
                said.password.ok_or_else(|| ApiError::field("/password", "is needed for the new account"))?;
            account(app, invitation.email.clone(), own_name(said.name)?, password).await?
        }
    };
    let elected = elect(app, invitation, &user).await?;
    let organization = join(app, &elected, &user).await?;
    settle(app, elected).await?;
    let role = organization.member(user.id).map(|member| member.role);
    sessions::begin(app, user, role.map(|role| (organization, role)), client).await
}

/// From here on nobody else can accept, and the same person always can.
async fn elect(app: &App, mut invitation: Invitation, user: &User) -> ApiResult<Invitation> {
    loop {
        let next = match invitation.accept(user, app.now()).map_err(refused)? {
            Accept::GoOn => return Ok(invitation),
            Accept::Begin(next) => next,
        };
        match app.parts.stores.invitations.update(&next).await? {
            Changed::Updated => return Ok(next),
            Changed::Conflict(now) => invitation = now,
            Changed::NotFound | Changed::Taken => return Err(ApiError::not_found()),
        }
    }
}

async fn join(app: &App, invitation: &Invitation, user: &User) -> ApiResult<Organization> {
    let (id, now) = (invitation.organization, app.now());
    let decide = |organization: &Organization| Ok(organization.join(user.id, invitation.role, now)?);
    let joined = match organizations::change(app, id, decide).await {
        Ok((_, after)) => after,
        Err(error) => {
            // Made a member by a try before this one, or by somebody else meanwhile.
            let known = organizations::get(app, id).await?;
            return if known.member(user.id).is_some() { Ok(known) } else { Err(error) };
        }
    };
    let entry = audit::by(app, Actor::User(user.id), Some(id), AuditAction::MemberJoined).to(user.id);
    audit::write(app, entry.with("role", invitation.role).with("invitation", invitation.id)).await;
    Ok(joined)
}

async fn settle(app: &App, invitation: Invitation) -> ApiResult<()> {
    let invitations = &app.parts.stores.invitations;
    let mut current = invitation;
    while let Some(next) = current.settle() {
        match invitations.update(&next).await? {
            Changed::Updated => {
                let Some(user) = accepted_by(&next) else { return Ok(()) };
                let entry = audit::by(
                    app,
                    Actor::User(user),
                    Some(next.organization),
                    AuditAction::InvitationAccepted,
                );
                audit::write(app, entry.to(next.id)).await;
                return Ok(());
            }
            Changed::Conflict(now) => current = now,
            Changed::NotFound | Changed::Taken => {
                return Err(ApiError::new(ProblemCode::NotFound, "The invitation is gone."));
            }
        }
    }
    Ok(())
}

fn accepted_by(invitation: &Invitation) -> Option<gantry_domain::id::UserId> {
    use gantry_domain::identity::invitation::InvitationState;
    match invitation.state {
        InvitationState::Accepted { user, .. } => Some(user),
        _ => None,
    }
}

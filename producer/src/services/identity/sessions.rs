//! Sessions: begun by a proof of who somebody is, kept up by refresh tokens that each work once.

use gantry_api_types::problem::ProblemCode;
use gantry_credentials::jwt::{AccessToken, Subject};
use gantry_credentials::token::{Refresh as RefreshKind, Token};
use gantry_domain::id::{OrganizationId, SessionId};
use gantry_domain::identity::session::{Client, EndedWhy, Refresh, SessionOver};
use gantry_domain::identity::{AuditAction, Organization, Outcome, Session, User};
use gantry_domain::role::Role;
use gantry_domain::run::Actor;
use gantry_store::Changed;

use super::audit;
use super::change::change;
use crate::access::unauthorized;
use crate::error::{ApiError, ApiResult};
use crate::extract::request_id;
use crate::state::App;

/// The longest part of a browser's description of itself that is kept.
const AGENT: usize = 200;

/// What somebody gets who signed in.
pub struct Signed {
    pub user: User,
    pub organization: Option<(Organization, Role)>,
    pub access: AccessToken,
    /// `None` when the session goes on with a token that somebody else was given.
    pub refresh: Option<RefreshToken>,
}

/// A refresh token: which session, and proof that it is the newest of it.
pub struct RefreshToken {
    family: Token<RefreshKind>,
    own: Token<RefreshKind>,
}

impl RefreshToken {
    fn parse(text: &str) -> Option<Self> {
        let (family, own) = text.split_once('.')?;
        Some(Self { family: Token::parse(family)?, own: Token::parse(own)? })
    }

    /// The token itself, for the cookie or answer that carries it.
    pub fn expose(&self) -> String {
        format!("{}.{}", self.family.expose(), self.own.expose())
    }
}

fn over() -> ApiError {
    unauthorized("The session is over: sign in again.")
}

/// Where somebody calls from.
pub fn client(agent: Option<&str>) -> Client {
    let agent = agent.unwrap_or_default().chars().filter(|c| !c.is_control()).take(AGENT).collect();
    let address = request_id::client().map(|address| address.to_string()).unwrap_or_default();
    Client { address, agent }
}

/// The wanted organization, or the one that somebody belongs to longest; `None` for somebody who belongs to none.
pub async fn organization(
    app: &App,
    user: &User,
    wanted: Option<OrganizationId>,
) -> ApiResult<Option<(Organization, Role)>> {
    let role = |organization: Organization| {
        let role = organization.member(user.id).map(|member| member.role);
        role.map(|role| (organization, role))
    };
    let mut all = app.parts.stores.organizations.of_user(user.id).await?.into_iter().filter_map(role);
    match wanted {
        Some(id) => all
            .find(|(organization, _)| organization.id == id)
            .map(Some)
            .ok_or_else(|| ApiError::field("/organization", "you do not belong to this organization")),
        None => Ok(all.next()),
    }
}

/// Begins a session of somebody who just proved who he is.
pub async fn begin(
    app: &App,
    user: User,
    organization: Option<(Organization, Role)>,
    client: Client,
) -> ApiResult<Signed> {
    let token = RefreshToken { family: Token::new(), own: Token::new() };
    let works_in = organization.as_ref().map(|(organization, _)| organization.id);
    let (family, own) = (token.family.hash().0, token.own.hash().0);
    let session =
        Session::begin(&user, works_in, family, own, client, app.config.identity.sessions, app.now());
    app.parts.stores.sessions.add(&session).await?;
    let access = issue(app, &session)?;
    Ok(Signed { user, organization, access, refresh: Some(token) })
}

fn issue(app: &App, session: &Session) -> ApiResult<AccessToken> {
    let subject = Subject { user: session.user, session: session.id, organization: session.organization };
    app.identity.tokens().issue(subject).map_err(|error| ApiError::internal(error.to_string()))
}

/// Exchanges a refresh token. Of any number that come at once with the same one, one gets its successor.
pub async fn refresh(app: &App, presented: &str) -> ApiResult<Signed> {
    let presented = RefreshToken::parse(presented).ok_or_else(over)?;
    let stores = &app.parts.stores;
    let family = presented.family.hash().0;
    let mut session = stores.sessions.by_family(&family).await?.ok_or_else(over)?;
    let user = stores.users.get(session.user).await?.ok_or_else(over)?;
    let fresh = RefreshToken { family: presented.family, own: Token::new() };
    loop {
        let (own, next) = (presented.own.hash().0, fresh.own.hash().0);
        let life = app.config.identity.sessions;
        match session.refresh(Some(&user), &own, next, life, app.now()).map_err(|SessionOver| over())? {
            Refresh::Rotated(next) => {
                let organization = match organization(app, &user, next.organization).await {
                    Ok(Some(organization)) if next.organization.is_some() => Some(organization),
                    Err(error) if error.code != ProblemCode::ValidationFailed => return Err(error),
                    // He was sent away, or has come to somewhere.
                    _ => organization(app, &user, None).await?,
                };
                let works_in = organization.as_ref().map(|(organization, _)| organization.id);
                let next = Session { organization: works_in, ..next };
                match stores.sessions.update(&next).await? {
                    Changed::Updated => {
                        let access = issue(app, &next)?;
                        return Ok(Signed { user, organization, access, refresh: Some(fresh) });
                    }
                    Changed::Conflict(now) => session = now,
                    Changed::Taken | Changed::NotFound => return Err(over()),
                }
            }
            Refresh::Superseded => {
                let organization = organization(app, &user, session.organization).await.unwrap_or_default();
                let access = issue(app, &session)?;
                return Ok(Signed { user, organization, access, refresh: None });
            }
            Refresh::Reused(next) => match stores.sessions.update(&next).await? {
                Changed::Updated => {
                    app.identity.credentials.forget();
                    let reused =
                        audit::by(app, Actor::User(user.id), next.organization, AuditAction::TokenReused);
                    let reused = gantry_domain::identity::AuditEntry { outcome: Outcome::Refused, ..reused };
                    audit::write(app, reused.to(next.id)).await;
                    return Err(over());
                }
                Changed::Conflict(now) => session = now,
                Changed::Taken | Changed::NotFound => return Err(over()),
            },
        }
    }
}

/// Ends the session of a refresh token; one that is none ends nothing.
pub async fn sign_out(app: &App, presented: &str) -> ApiResult<()> {
    let Some(token) = RefreshToken::parse(presented) else { return Ok(()) };
    let Some(session) = app.parts.stores.sessions.by_family(&token.family.hash().0).await? else {
        return Ok(());
    };
    // Whoever has an old token of the family may be a thief: ending it hurts only him.
    end(app, session, EndedWhy::SignedOut, AuditAction::SignOut).await
}

/// Ends one of somebody's sessions.
pub async fn revoke(app: &App, user: &User, id: SessionId) -> ApiResult<()> {
    let session = app.parts.stores.sessions.get(user.id, id).await?.ok_or_else(ApiError::not_found)?;
    end(app, session, EndedWhy::Revoked, AuditAction::SessionRevoked).await
}

async fn end(app: &App, session: Session, why: EndedWhy, action: AuditAction) -> ApiResult<()> {
    if session.ended.is_some() {
        return Ok(());
    }
    let now = app.now();
    let sessions = &app.parts.stores.sessions;
    let (_, ended) = change(&**sessions, session, |session| Ok(session.end(why, now))).await?;
    app.identity.credentials.forget();
    audit::write(app, audit::by(app, Actor::User(ended.user), ended.organization, action).to(ended.id)).await;
    Ok(())
}

/// Goes on in another organization of somebody's.
pub async fn switch(app: &App, user: User, session: Session, to: OrganizationId) -> ApiResult<Signed> {
    let organization = organization(app, &user, Some(to)).await?;
    let sessions = &app.parts.stores.sessions;
    let (_, session) = change(&**sessions, session, |session| Ok(session.switch(Some(to)))).await?;
    let access = issue(app, &session)?;
    let entry = audit::by(app, Actor::User(user.id), Some(to), AuditAction::SignIn).to(session.id);
    audit::write(app, entry.with("by", "switching")).await;
    Ok(Signed { user, organization, access, refresh: None })
}

//! Passwords: proving who one is with them, choosing and forgetting them.

use std::sync::Arc;

use gantry_api_types::problem::ProblemCode;
use gantry_credentials::password::{NewPassword, PasswordError, PresentedPassword, Verdict};
use gantry_credentials::token::{PasswordReset as ResetKind, Token};
use gantry_domain::id::{OrganizationId, UserId};
use gantry_domain::identity::lockout::{Failures, Subject};
use gantry_domain::identity::reset::{self, ResetRefused};
use gantry_domain::identity::session::Client;
use gantry_domain::identity::{AuditAction, AuditEntry, Email, Outcome, PasswordHash, PasswordReset, User};
use gantry_domain::run::Actor;
use gantry_store::{Attempt, Changed};

use super::change::change;
use super::post::Post;
use super::sessions::{self, Signed};
use super::{audit, limits, sign_up};
use crate::access::unauthorized;
use crate::error::{ApiError, ApiResult};
use crate::extract::request_id;
use crate::state::App;

fn wrong() -> ApiError {
    unauthorized("E-mail address or password is wrong.")
}

fn not_judged(error: PasswordError) -> ApiError {
    match error {
        PasswordError::Busy => ApiError::later(
            ProblemCode::Unavailable,
            "Too many people sign in at this moment. Try again in some seconds.",
            2,
        ),
        PasswordError::Closed => ApiError::unavailable("This server", error.to_string()),
        PasswordError::Failed => ApiError::internal(error.to_string()),
    }
}

/// A password that somebody may have, hashed. `related` are what is guessed first.
pub async fn choose(app: &App, text: &str, related: &[&str], pointer: &str) -> ApiResult<PasswordHash> {
    let password =
        NewPassword::choose(text, related).map_err(|weak| ApiError::field(pointer, weak.to_string()))?;
    app.identity.passwords.hash(password).await.map(PasswordHash::from_phc).map_err(not_judged)
}

/// An attempt that was counted, and is taken back unless it was judged.
struct Counted<'a> {
    app: &'a App,
    attempts: Vec<(Subject, Failures, Option<Failures>)>,
}

impl<'a> Counted<'a> {
    /// Counts an attempt at the account and from the address, before it is known how it ends.
    async fn new(app: &'a App, email: &Email) -> ApiResult<Self> {
        let address = request_id::client().map(|address| Subject::address(address.0));
        let mut counted = Self { app, attempts: Vec::new() };
        // The address first: who is locked out himself does not touch anybody's account.
        for subject in [address, Some(Subject::Account(email.clone()))].into_iter().flatten() {
            match app.parts.stores.sign_ins.attempt(&subject, app.now()).await? {
                Attempt::Counted { now, before } => counted.attempts.push((subject, now, before)),
                Attempt::Locked(until) => {
                    counted.take_back().await?;
                    return Err(limits::too_often(until.since(app.now())));
                }
            }
        }
        Ok(counted)
    }

    async fn take_back(self) -> ApiResult<()> {
        for (subject, now, before) in self.attempts {
            self.app.parts.stores.sign_ins.take_back(&subject, now, before).await?;
        }
        Ok(())
    }

    /// The password was right. Of an address only this attempt is forgotten: whoever has one account gets no more guesses at
    /// others by it.
    async fn forgive(self) -> ApiResult<()> {
        let sign_ins = &self.app.parts.stores.sign_ins;
        for (subject, now, before) in self.attempts {
            match subject {
                Subject::Account(_) => sign_ins.forgive(&subject).await?,
                Subject::Address(_) => sign_ins.take_back(&subject, now, before).await?,
            }
        }
        Ok(())
    }
}

/// Whether this is the password of the account; an account that may not sign in has none. Takes as long either way.
async fn judge(app: &App, email: &Email, user: Option<User>, password: &str) -> ApiResult<User> {
    // An attempt that cannot be judged now counts against nobody, and writes nothing.
    let turn = app.identity.passwords.turn().map_err(not_judged)?;
    let counted = Counted::new(app, email).await?;
    let user = user.filter(|user| !user.is_disabled());
    let stored = user.as_ref().map(|user| user.password.as_str().to_owned());
    let verdict = match turn.verify(PresentedPassword::new(password), stored).await {
        Ok(verdict) => verdict,
        Err(error) => {
            counted.take_back().await?;
            return Err(not_judged(error));
        }
    };
    let Some((user, Verdict::Right { rehash })) = user.map(|user| (user, verdict)) else {
        return Err(wrong());
    };
    counted.forgive().await?;
    Ok(if rehash { hash_anew(app, user, password).await } else { user })
}

/// Keeps the same password under today's parameters. Another time if not now.
async fn hash_anew(app: &App, user: User, password: &str) -> User {
    // It may be one that could not be chosen any more.
    let Ok(password) = NewPassword::choose(password, &[]) else { return user };
    let Ok(hash) = app.identity.passwords.hash(password).await else { return user };
    let next = user.rehash(PasswordHash::from_phc(hash));
    match app.parts.stores.users.update(&next).await {
        Ok(Changed::Updated) => next,
        _ => user,
    }
}

/// Signs somebody in. The same answer, after the same time, for a wrong password, an account that is not there and one that is
/// disabled.
pub async fn sign_in(
    app: &Arc<App>,
    email: &str,
    password: &str,
    organization: Option<OrganizationId>,
    client: Client,
) -> ApiResult<Signed> {
    let email = email.parse::<Email>().ok();
    limits::admit(app, email.as_ref()).await?;
    // Nobody has an address that is none: it is judged like one that nobody has.
    let email = match email {
        Some(email) => email,
        None => "nobody@invalid".parse().map_err(|_| wrong())?,
    };
    let user = app.parts.stores.users.by_email(&email).await?;
    let known = user.as_ref().map(|user| user.id);
    match judge(app, &email, user, password).await {
        Ok(user) => {
            let wanted = sessions::organization(app, &user, organization).await;
            let works_in =
                wanted.as_ref().ok().and_then(Option::as_ref).map(|(organization, _)| organization.id);
            let home = match works_in {
                Some(works_in) => Some(works_in),
                None => {
                    sessions::organization(app, &user, None).await?.map(|(organization, _)| organization.id)
                }
            };
            // Also where he wants to work somewhere else: the password was right.
            note(app, &user, home, AuditAction::SignIn).await;
            sessions::begin(app, user, wanted?, client).await
        }
        Err(error) => {
            if error.code == ProblemCode::Unauthorized {
                refused(app, known, email);
            }
            Err(error)
        }
    }
}

/// Tells those who can do something about it.
fn refused(app: &Arc<App>, user: Option<UserId>, email: Email) {
    let (work, client, now) = (app.clone(), request_id::client(), app.now());
    // After the answer: how long it takes would tell whether there is an account.
    let written = app.identity.later(app, async move {
        let organizations = match user {
            Some(user) => work.parts.stores.organizations.of_user(user).await?,
            None => Vec::new(),
        };
        let mut told: Vec<_> = organizations.iter().map(|organization| Some(organization.id)).collect();
        if told.is_empty() {
            told.push(None);
        }
        for organization in told {
            let entry = AuditEntry::new(AuditAction::SignIn, Outcome::Refused, now).to(&email);
            let entry = client.into_iter().fold(entry, |entry, address| entry.from_address(address));
            audit::write(&work, AuditEntry { organization, ..entry }).await;
        }
        Ok(())
    });
    if written.is_err() {
        tracing::warn!(?user, "too many sign-ins are refused at once: this one is not in the audit log");
    }
}

/// Another password, by whoever knows the present one. Every session is over; the answer begins another.
pub async fn change_own(
    app: &App,
    user: User,
    current: &str,
    new: &str,
    client: Client,
) -> ApiResult<Signed> {
    limits::admit(app, Some(&user.email)).await?;
    let email = user.email.clone();
    // Not as somebody believed a moment ago.
    let user = app.parts.stores.users.get(user.id).await?;
    let user = judge(app, &email, user, current).await.map_err(|error| match error.code {
        ProblemCode::Unauthorized => ApiError::field("/current", "is not your password"),
        _ => error,
    })?;
    let user = set(app, user, new, "/new").await?;
    let organization = sessions::organization(app, &user, None).await?;
    note(
        app,
        &user,
        organization.as_ref().map(|(organization, _)| organization.id),
        AuditAction::PasswordChanged,
    )
    .await;
    sessions::begin(app, user, organization, client).await
}

async fn set(app: &App, user: User, password: &str, pointer: &str) -> ApiResult<User> {
    let hash = choose(app, password, &[user.email.as_str(), &user.name], pointer).await?;
    let now = app.now();
    let users = &app.parts.stores.users;
    let judged = user.password.clone();
    let decide = |user: &User| match user.password == judged {
        true => Ok(user.set_password(hash.clone(), now)),
        false => Err(ApiError::conflict("The password was changed at this moment: sign in again.")),
    };
    let (_, user) = change(&**users, user, decide).await?;
    app.identity.credentials.forget();
    Ok(user)
}

async fn note(app: &App, user: &User, organization: Option<OrganizationId>, action: AuditAction) {
    audit::write(app, audit::by(app, Actor::User(user.id), organization, action).to(user.id)).await;
}

/// Mails a link by which to choose another password, if there is such an account. Answers before it is known whether.
pub async fn forgot(app: &Arc<App>, email: &str) -> ApiResult<()> {
    Post::required(app.identity.post.as_ref())?;
    let email = sign_up::email(email)?;
    limits::letter(app, &email).await?;
    let (work, client) = (app.clone(), request_id::client());
    app.identity.later(app, async move {
        let Some(post) = &work.identity.post else { return Ok(()) };
        let user = work.parts.stores.users.by_email(&email).await?.filter(|user| !user.is_disabled());
        let Some(user) = user else { return Ok(()) };
        let token = begin_reset(&work, &user).await?;
        let letter = gantry_mail::PasswordReset { token: token.expose(), valid_for: reset::LIFE };
        post.send(&user.email, |to, at| letter.mail(to, at))?;
        let entry = AuditEntry::new(AuditAction::PasswordForgotten, Outcome::Done, work.now()).to(user.id);
        let entry = client.into_iter().fold(entry, |entry, address| entry.from_address(address));
        audit::write(&work, entry).await;
        Ok(())
    })
}

/// A token by which this person may choose a password; good for an hour, once.
pub async fn begin_reset(app: &App, user: &User) -> ApiResult<Token<ResetKind>> {
    let token = Token::new();
    app.parts.stores.resets.add(&PasswordReset::new(user.id, token.hash().0, app.now())).await?;
    Ok(token)
}

/// Chooses another password by a mailed link. Every session is over.
pub async fn reset(app: &App, token: &str, password: &str) -> ApiResult<()> {
    limits::admit(app, None).await?;
    let dead = || ApiError::conflict(format!("{ResetRefused}."));
    let token = Token::<ResetKind>::parse(token).ok_or_else(dead)?;
    let stores = &app.parts.stores;
    let reset = stores.resets.by_token(&token.hash().0).await?.ok_or_else(dead)?;
    let user = stores.users.get(reset.user).await?.filter(|user| !user.is_disabled()).ok_or_else(dead)?;
    // Asked for before the password was changed: whoever saw that letter is not the one who changed it.
    if reset.created_at < user.password_changed_at {
        return Err(dead());
    }
    let used = reset.use_up(app.now()).map_err(|ResetRefused| dead())?;
    // Before the link is used up: whoever chose a weak one may choose again.
    let hash = choose(app, password, &[user.email.as_str(), &user.name], "/password").await?;
    if stores.resets.update(&used).await? != Changed::Updated {
        return Err(dead());
    }
    let now = app.now();
    let decide = |user: &User| Ok(user.set_password(hash.clone(), now));
    let (_, user) = change(&*stores.users, user, decide).await?;
    stores.sign_ins.forgive(&Subject::Account(user.email.clone())).await?;
    app.identity.credentials.forget();
    let organization =
        sessions::organization(app, &user, None).await?.map(|(organization, _)| organization.id);
    note(app, &user, organization, AuditAction::PasswordReset).await;
    Ok(())
}

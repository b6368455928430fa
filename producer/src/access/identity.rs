//! Who stands behind a credential now, and what they may do.

use std::sync::Arc;

use gantry_api_types::problem::ProblemCode;
use gantry_domain::id::{OrganizationId, UserId};
use gantry_domain::identity::key::USE_STEP;
use gantry_domain::identity::{ApiKey, Session, User};
use gantry_domain::permission::{Permission, Permissions};
use gantry_domain::role::Role;
use gantry_domain::run::Actor;
use gantry_store::{Presented, StoreError};

use super::credential::refused;
use super::{Caller, Credential, Needs, forbidden};
use crate::error::{ApiError, ApiResult};
use crate::state::App;

/// A good credential with the account behind it.
#[derive(Debug, Clone)]
pub struct Identity {
    behind: Behind,
    /// Where it is good; somebody may belong to no organization.
    pub organization: Option<OrganizationId>,
    pub role: Option<Role>,
    pub permissions: Permissions,
}

#[derive(Debug, Clone)]
enum Behind {
    Key(Arc<Presented<ApiKey>>),
    Session(Arc<Presented<Session>>),
}

impl Identity {
    /// Asks the store unless it was asked a moment ago.
    pub async fn of(app: &App, credential: Credential) -> ApiResult<Self> {
        match credential {
            Credential::Key(hash) => Self::of_key(app, hash).await,
            Credential::Session { .. } => Self::of_session(app, credential).await,
        }
    }

    async fn of_key(app: &App, hash: [u8; 32]) -> ApiResult<Self> {
        let (keys, now) = (&app.parts.stores.keys, app.now());
        let ask = async {
            let found = keys.look_up(&hash).await?;
            let noted = |key: &ApiKey| key.last_used_at.is_some_and(|at| now.since(at) < USE_STEP);
            if let Some(key) = found.as_ref().map(|found| &found.credential).filter(|key| !noted(key))
                // A convenience: no request fails for it.
                && let Err(error) = keys.used(key.id, now).await
            {
                tracing::debug!(%error, "when a key was used is not noted");
            }
            Ok::<_, StoreError>(found)
        };
        let found = app.identity.credentials.key(hash, ask).await?.ok_or_else(refused)?;
        let key = &found.credential;
        let permissions = key.permissions(found.user.as_ref(), found.role, now).map_err(|_| refused())?;
        let (organization, role) = (key.organization, found.role);
        let permissions = within(app, Some(organization), permissions).await?;
        Ok(Self { behind: Behind::Key(found), organization: Some(organization), role, permissions })
    }

    async fn of_session(app: &App, credential: Credential) -> ApiResult<Self> {
        let Credential::Session { subject, expires_at } = credential else { return Err(refused()) };
        let (sessions, now) = (&app.parts.stores.sessions, app.now());
        // No organization has this id.
        let nowhere = OrganizationId::from_u128(0);
        let asked = sessions.look_up(subject.session, subject.user, subject.organization.unwrap_or(nowhere));
        let found = app.identity.credentials.session((subject.session, subject.organization), asked).await?;
        let found = found.ok_or_else(refused)?;
        let genuine =
            found.credential.user == subject.user && now < expires_at + gantry_credentials::jwt::LEEWAY;
        let over = found.credential.check(found.user.as_ref(), now).is_err();
        if !genuine || over {
            return Err(refused());
        }
        let role = found.role.filter(|_| subject.organization.is_some());
        let nobody: Permissions = [Permission::Account].into_iter().collect();
        let permissions = within(app, subject.organization, role.map_or(nobody, Role::permissions)).await?;
        Ok(Self { behind: Behind::Session(found), organization: subject.organization, role, permissions })
    }

    /// The person, or the key's owner. There is one: without, the credential is refused.
    pub fn user(&self) -> Option<&User> {
        match &self.behind {
            Behind::Key(found) => found.user.as_ref(),
            Behind::Session(found) => found.user.as_ref(),
        }
    }

    fn user_id(&self) -> UserId {
        match &self.behind {
            Behind::Key(found) => found.credential.owner,
            Behind::Session(found) => found.credential.user,
        }
    }

    pub fn key(&self) -> Option<&ApiKey> {
        match &self.behind {
            Behind::Key(found) => Some(&found.credential),
            Behind::Session(_) => None,
        }
    }

    pub fn session(&self) -> Option<&Session> {
        match &self.behind {
            Behind::Key(_) => None,
            Behind::Session(found) => Some(&found.credential),
        }
    }

    pub fn actor(&self) -> Actor {
        match &self.behind {
            Behind::Key(found) => Actor::Key(found.credential.id),
            Behind::Session(found) => Actor::User(found.credential.user),
        }
    }

    /// Whether a route with these needs is open to it.
    pub fn admit(&self, needs: Needs) -> ApiResult<()> {
        match needs {
            Needs::Nothing | Needs::Credential => Ok(()),
            Needs::Permission(permission) if self.permissions.contains(permission) => Ok(()),
            Needs::Permission(Permission::Account) => Err(ApiError::new(
                ProblemCode::Forbidden,
                "An account belongs to a person: sign in instead of using an API key.",
            )),
            Needs::Permission(permission) => Err(forbidden(permission)),
        }
    }

    /// For work in an organization.
    pub fn caller(&self) -> ApiResult<Caller> {
        let organization = self.organization.filter(|_| self.role.is_some()).ok_or_else(|| {
            ApiError::new(
                ProblemCode::Forbidden,
                "You do not belong to this organization any more: switch to another one of yours, or ask for an invitation.",
            )
        })?;
        Ok(Caller { organization, actor: self.actor(), user: self.user_id(), permissions: self.permissions })
    }
}

/// Without what only the organization that operates the installation may do: workers serve everybody.
async fn within(
    app: &App,
    organization: Option<OrganizationId>,
    permissions: Permissions,
) -> ApiResult<Permissions> {
    let operates = match organization {
        Some(organization) => app.identity.operators(&*app.parts.stores.auth).await? == Some(organization),
        None => false,
    };
    Ok(permissions.iter().filter(|permission| operates || !permission.is_of_installation()).collect())
}

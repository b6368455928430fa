//! Who may call what. A credential is looked up at most every three seconds, whatever it is, and with it everything that can take
//! its rights away: so a revoked key, an ended session, a disabled account or another role takes effect within five seconds on
//! every replica, open streams included.

mod credential;
mod identity;
mod needs;
mod presented;

use gantry_api_types::problem::ProblemCode;
use gantry_domain::id::{OrganizationId, UserId};
use gantry_domain::permission::{Permission, Permissions};
use gantry_domain::run::Actor;

pub use self::credential::Credential;
pub(crate) use self::credential::{bearer, unauthorized};
pub use self::identity::Identity;
pub use self::needs::{Needs, TABLE, needs};
pub use self::presented::Credentials;
use crate::error::{ApiError, ApiResult};

/// Who calls, for which organization, and what they may do there at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub organization: OrganizationId,
    pub actor: Actor,
    /// The person, or the owner of the key.
    pub user: UserId,
    pub permissions: Permissions,
}

impl Caller {
    /// For what a route decides by the body instead of by its path.
    pub fn must(&self, permission: Permission) -> ApiResult<()> {
        match self.permissions.contains(permission) {
            true => Ok(()),
            false => Err(forbidden(permission)),
        }
    }
}

/// Known, and not allowed.
pub fn forbidden(permission: Permission) -> ApiError {
    let least = permission.least_role();
    let detail = format!(
        "This needs the permission `{permission}`, which the role {least} has, and an API key a scope for it. Ask an admin of your organization."
    );
    ApiError::new(ProblemCode::Forbidden, detail)
}

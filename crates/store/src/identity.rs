//! People, organizations and credentials: one small trait per subject. What is kept are the domain's values; every change is
//! the domain's successor stored by compare-and-set on the version, every unique value a unique insert. So whatever two
//! replicas do at the same moment, one of them is told that it was late.

mod audit;
mod invitations;
mod keys;
mod organizations;
mod resets;
mod sessions;
mod sign_ins;
mod users;

use gantry_domain::identity::User;
use gantry_domain::role::Role;

pub use audit::{AuditFilter, AuditStore};
pub use invitations::InvitationStore;
pub use keys::ApiKeyStore;
pub use organizations::OrganizationStore;
pub use resets::PasswordResetStore;
pub use sessions::SessionStore;
pub use sign_ins::{Attempt, SignInStore};
pub use users::UserStore;

/// What came of a compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed<T> {
    Updated,
    /// Somebody else was faster; the value as it is now.
    Conflict(T),
    /// A value that nobody else may have (an e-mail address, a secret) belongs to another one.
    Taken,
    NotFound,
}

/// A credential that somebody presents, and who stands behind it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented<T> {
    pub credential: T,
    /// `None` when there is no such account any more.
    pub user: Option<User>,
    /// What he is to the organization asked about; `None` when nothing.
    pub role: Option<Role>,
}

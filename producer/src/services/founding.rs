//! An organization as it begins: with its admin, and a key of his that may do all he may.

use gantry_domain::id::{OrganizationId, UserId};
use gantry_domain::identity::{ApiKey, Email, Organization, PasswordHash, User};
use gantry_domain::permission::Scope;
use gantry_domain::time::Timestamp;
use gantry_store::Bootstrap;

use super::credentials;

/// An organization, its admin, and his key; nothing is stored yet.
pub fn begin(name: &str, email: Email, password: PasswordHash, secret: &str, now: Timestamp) -> Bootstrap {
    let user = User::new(UserId::new(), email, String::new(), password, now);
    let organization = Organization::found(OrganizationId::new(), name.to_owned(), user.id, now);
    Bootstrap { key: key(&organization, "first", secret, now), organization, user }
}

/// A key with every scope, of the organization's longest-standing admin.
pub fn key(organization: &Organization, name: &str, secret: &str, now: Timestamp) -> ApiKey {
    // There always is one: the last cannot go.
    let owner = organization.admins().next().unwrap_or(UserId::from_u128(0));
    let (hash, prefix) = (credentials::hash(secret), credentials::shown_prefix(secret));
    ApiKey::new(organization.id, owner, name, [Scope::Admin], hash, prefix, now)
}

use async_trait::async_trait;
use gantry_domain::id::{InstallationId, KeyId, OrganizationId, UserId};
use gantry_domain::time::Timestamp;

use crate::Result;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: String,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub organization: OrganizationId,
    pub email: String,
    /// Argon2id, in PHC form.
    pub password_hash: String,
    pub created_at: Timestamp,
}

/// An API key as kept: the secret only as SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: KeyId,
    pub organization: OrganizationId,
    pub name: String,
    pub secret_hash: [u8; 32],
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

/// What a first start creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    pub organization: Organization,
    pub user: User,
    pub key: ApiKey,
}

/// Organizations and credentials, and the installation's own identity.
#[async_trait]
pub trait AuthStore: Send + Sync {
    /// The installation's id, made on first use.
    async fn installation(&self) -> Result<InstallationId>;

    /// Creates the first organization, user and key, if there is no organization yet; true when it did. Synced.
    async fn bootstrap(&self, first: &Bootstrap) -> Result<bool>;

    /// The oldest organization, if there is any.
    async fn first_organization(&self) -> Result<Option<Organization>>;

    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>>;

    /// The key whose secret has this hash, revoked ones included.
    async fn key_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<ApiKey>>;

    /// Stores another key. Synced.
    async fn add_key(&self, key: &ApiKey) -> Result<()>;

    /// Whether the store answers, reads and writes; for readiness.
    async fn check(&self) -> Result<()>;
}

use async_trait::async_trait;
use gantry_domain::id::{InstallationId, OrganizationId};
use gantry_domain::identity::{ApiKey, Organization, User};

use crate::Result;

/// What a first start creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// With the user as its admin.
    pub organization: Organization,
    pub user: User,
    /// Of that user.
    pub key: ApiKey,
}

/// The installation itself, and how it begins.
#[async_trait]
pub trait AuthStore: Send + Sync {
    /// The installation's id, made on first use.
    async fn installation(&self) -> Result<InstallationId>;

    /// Creates the first organization, user and key, if there is no organization yet; true when it did. Synced.
    async fn bootstrap(&self, first: &Bootstrap) -> Result<bool>;

    /// The oldest organization, if there is any.
    async fn first_organization(&self) -> Result<Option<Organization>>;

    /// The organization that the installation began with, and that operates it; `None` before the bootstrap, whatever other
    /// organizations there are.
    async fn operators(&self) -> Result<Option<OrganizationId>>;

    /// Whether the store answers, reads and writes; for readiness.
    async fn check(&self) -> Result<()>;
}

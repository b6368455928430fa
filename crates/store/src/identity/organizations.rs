use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, UserId};
use gantry_domain::identity::Organization;
use gantry_domain::role::Role;

use super::Changed;
use crate::Result;

/// Organizations with their members: one document each, so that who is the last admin is decided by one write.
#[async_trait]
pub trait OrganizationStore: Send + Sync {
    /// Stores a new organization with its first admin; the same one again changes nothing. Synced.
    async fn found(&self, organization: &Organization) -> Result<()>;

    async fn get(&self, id: OrganizationId) -> Result<Option<Organization>>;

    /// Stores the successor if the stored version is the one before. Synced.
    async fn update(&self, next: &Organization) -> Result<Changed<Organization>>;

    /// What this person is to the organization.
    async fn role(&self, id: OrganizationId, user: UserId) -> Result<Option<Role>>;

    /// All that this person belongs to, oldest first.
    async fn of_user(&self, user: UserId) -> Result<Vec<Organization>>;
}

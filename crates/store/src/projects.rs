use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, ProjectId};
use gantry_domain::project::Project;

use crate::{Changed, Page, Result};

/// A project with something sealed, or the id of one that cannot be read.
pub type Sealing = std::result::Result<Project, ProjectId>;

/// Projects, with their secrets as sealed texts. A name belongs to one project of an organization.
#[async_trait]
pub trait ProjectStore: Send + Sync {
    /// Stores a new one; false when the organization has one of this name. Synced.
    async fn add(&self, project: &Project) -> Result<bool>;

    async fn get(&self, organization: OrganizationId, id: ProjectId) -> Result<Option<Project>>;

    /// The one that runs name so.
    async fn by_name(&self, organization: OrganizationId, name: &str) -> Result<Option<Project>>;

    /// Newest first.
    async fn list(
        &self,
        organization: OrganizationId,
        after: Option<ProjectId>,
        limit: u32,
    ) -> Result<Page<Project, ProjectId>>;

    /// Stores the successor if the stored version is the one before. Synced.
    async fn update(&self, next: &Project) -> Result<Changed<Project>>;

    /// Removes it, whatever its version; its runs stay. False when it was not there. Synced.
    async fn delete(&self, organization: OrganizationId, id: ProjectId) -> Result<bool>;

    /// Every organization's projects with something sealed, newest first; for sealing anew. Of one that cannot be read, the id:
    /// whoever takes a key away must know of it.
    async fn with_secrets(&self, after: Option<ProjectId>, limit: u32) -> Result<Page<Sealing, ProjectId>>;

    /// Every organization's projects whose ended runs go one day, newest first.
    async fn with_retention(&self, after: Option<ProjectId>, limit: u32) -> Result<Page<Project, ProjectId>>;
}

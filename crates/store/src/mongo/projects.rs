use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, ProjectId};
use gantry_domain::project::Project;
use mongodb::bson::{Document, doc};

use super::document::text;
use super::identity::{Stored, below, page};
use super::schema::{Index, PROJECTS_BY_ORGANIZATION, PROJECTS_SEALED, PROJECTS_WITH_RETENTION};
use super::{Mongo, names};
use crate::kept::{Kept, sift};
use crate::{Changed, Page, ProjectStore, Result, Sealing, StoreError};

#[async_trait]
impl ProjectStore for Mongo {
    async fn add(&self, project: &Project) -> Result<bool> {
        self.core.add_kept(project).await
    }

    async fn get(&self, organization: OrganizationId, id: ProjectId) -> Result<Option<Project>> {
        self.core.find_kept(doc! { "_id": id.to_string(), "organization": organization.to_string() }).await
    }

    async fn by_name(&self, organization: OrganizationId, name: &str) -> Result<Option<Project>> {
        self.core.find_kept(doc! { "organization": organization.to_string(), "name": name }).await
    }

    async fn list(
        &self,
        organization: OrganizationId,
        after: Option<ProjectId>,
        limit: u32,
    ) -> Result<Page<Project, ProjectId>> {
        let filter = doc! { "organization": organization.to_string() };
        self.some_projects(filter, PROJECTS_BY_ORGANIZATION, after, limit).await
    }

    async fn update(&self, next: &Project) -> Result<Changed<Project>> {
        self.core.swap_kept(next).await
    }

    async fn delete(&self, organization: OrganizationId, id: ProjectId) -> Result<bool> {
        let filter = doc! { "_id": id.to_string(), "organization": organization.to_string() };
        Ok(self.core.forget_kept(names::PROJECTS, filter).await? > 0)
    }

    async fn with_secrets(&self, after: Option<ProjectId>, limit: u32) -> Result<Page<Sealing, ProjectId>> {
        let filter = below(doc! { "sealed": { "$exists": true } }, after);
        let found = self.core.newest(names::PROJECTS, filter, PROJECTS_SEALED, limit).await?;
        page(Project::KIND, found, limit, |document| {
            let id = text(document, "_id")?;
            let unread =
                || id.parse().map_err(|_| StoreError::Corrupt(format!("a project has the id {id:?}")));
            match sift(Project::KIND, id, Project::of_document(document))? {
                Some(project) => Ok(Ok(project)),
                None => Ok(Err(unread()?)),
            }
        })
    }

    async fn with_retention(&self, after: Option<ProjectId>, limit: u32) -> Result<Page<Project, ProjectId>> {
        let filter = doc! { "retention": { "$exists": true } };
        self.some_projects(filter, PROJECTS_WITH_RETENTION, after, limit).await
    }
}

impl Mongo {
    async fn some_projects(
        &self,
        filter: Document,
        index: Index,
        after: Option<ProjectId>,
        limit: u32,
    ) -> Result<Page<Project, ProjectId>> {
        let found = self.core.newest(names::PROJECTS, below(filter, after), index, limit).await?;
        page(Project::KIND, found, limit, Project::of_document)
    }
}

use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, ProjectId};
use gantry_domain::project::Project;
use rusqlite::params;

use super::identity::{all, below, page};
use super::row::key;
use super::{Sqlite, statements as sql};
use crate::{Changed, Durability, Page, ProjectStore, Result, Sealing};

#[async_trait]
impl ProjectStore for Sqlite {
    async fn add(&self, project: &Project) -> Result<bool> {
        self.add_kept(project).await
    }

    async fn get(&self, organization: OrganizationId, id: ProjectId) -> Result<Option<Project>> {
        self.find_kept(sql::PROJECT_OF, [key(id.as_u128()), key(organization.as_u128())]).await
    }

    async fn by_name(&self, organization: OrganizationId, name: &str) -> Result<Option<Project>> {
        self.find_kept(sql::PROJECT_BY_NAME, (key(organization.as_u128()), name.to_owned())).await
    }

    async fn list(
        &self,
        organization: OrganizationId,
        after: Option<ProjectId>,
        limit: u32,
    ) -> Result<Page<Project, ProjectId>> {
        let (organization, below) = (key(organization.as_u128()), below(after.map(ProjectId::as_u128)));
        let count = limit.max(1).saturating_add(1);
        let found = self
            .readers
            .read(move |connection| all(connection, sql::PROJECTS, params![organization, below, count]))
            .await?;
        Ok(page(found, limit, ProjectId::from_u128))
    }

    async fn update(&self, next: &Project) -> Result<Changed<Project>> {
        self.swap_kept(next).await
    }

    async fn delete(&self, organization: OrganizationId, id: ProjectId) -> Result<bool> {
        let (id, organization) = (key(id.as_u128()), key(organization.as_u128()));
        self.writer
            .write(Durability::Synced, move |writing| {
                let mut delete = writing.connection.prepare_cached(sql::DELETE_PROJECT)?;
                Ok(delete.execute([id, organization])? > 0)
            })
            .await
    }

    async fn with_secrets(&self, after: Option<ProjectId>, limit: u32) -> Result<Page<Sealing, ProjectId>> {
        let found = self.some_projects(sql::PROJECTS_SEALED, after, limit).await?;
        let or_id =
            |(id, project): (u128, Option<Project>)| (id, Some(project.ok_or(ProjectId::from_u128(id))));
        Ok(page(found.into_iter().map(or_id).collect(), limit, ProjectId::from_u128))
    }

    async fn with_retention(&self, after: Option<ProjectId>, limit: u32) -> Result<Page<Project, ProjectId>> {
        let found = self.some_projects(sql::PROJECTS_WITH_RETENTION, after, limit).await?;
        Ok(page(found, limit, ProjectId::from_u128))
    }
}

impl Sqlite {
    async fn some_projects(
        &self,
        statement: &'static str,
        after: Option<ProjectId>,
        limit: u32,
    ) -> Result<Vec<(u128, Option<Project>)>> {
        let below = below(after.map(ProjectId::as_u128));
        let count = limit.max(1).saturating_add(1);
        self.readers.read(move |connection| all(connection, statement, params![below, count])).await
    }
}

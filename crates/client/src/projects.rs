//! Projects. Every call names one by its id or its name.

use futures::Stream;
use gantry_api_types::Page;
use gantry_api_types::project::{
    ChangeProject, CreateProject, Project, ProjectSummary, RegistryLogins, SecretNames, SetRegistry,
    SetSecret, SetVariable,
};
use http::Method;

use crate::api::{ApiClient, LARGEST_PAGE, pages};
use crate::error::ClientError;
use crate::query::{Query, segment};

const PROJECTS: &str = "/api/v1/projects";

fn path(project: &str, rest: &str) -> String {
    format!("{}{rest}", segment(PROJECTS, project))
}

fn part(project: &str, kind: &str, name: &str) -> String {
    segment(&path(project, kind), name)
}

impl ApiClient {
    /// A page of projects, newest first; 25 of them without a limit, at most 100.
    pub async fn list_projects(
        &self,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page<ProjectSummary>, ClientError> {
        let limit = limit.map(|limit| limit.to_string());
        let query = Query::new(PROJECTS).option("limit", limit.as_deref()).option("cursor", cursor);
        self.caller.get(&query.path).answer().await
    }

    /// All projects, page after page.
    pub fn all_projects(&self) -> impl Stream<Item = Result<ProjectSummary, ClientError>> + Send + use<> {
        let client = self.clone();
        pages(move |cursor| {
            let client = client.clone();
            Box::pin(async move { client.list_projects(cursor.as_deref(), Some(LARGEST_PAGE)).await })
        })
    }

    pub async fn create_project(&self, request: &CreateProject) -> Result<Project, ClientError> {
        self.caller.post(PROJECTS).json(request).answer().await
    }

    pub async fn project(&self, project: &str) -> Result<Project, ClientError> {
        self.caller.get(&path(project, "")).answer().await
    }

    /// What is absent stays as it is.
    pub async fn change_project(
        &self,
        project: &str,
        request: &ChangeProject,
    ) -> Result<Project, ClientError> {
        self.caller.call(Method::PATCH, &path(project, "")).json(request).answer().await
    }

    /// Its runs stay.
    pub async fn delete_project(&self, project: &str) -> Result<(), ClientError> {
        self.caller.call(Method::DELETE, &path(project, "")).done().await
    }

    pub async fn set_variable(&self, project: &str, name: &str, value: &str) -> Result<(), ClientError> {
        let request = SetVariable { value: value.to_owned() };
        self.caller.call(Method::PUT, &part(project, "/variables", name)).json(&request).done().await
    }

    pub async fn delete_variable(&self, project: &str, name: &str) -> Result<(), ClientError> {
        self.caller.call(Method::DELETE, &part(project, "/variables", name)).done().await
    }

    /// Names, never values.
    pub async fn secrets(&self, project: &str) -> Result<SecretNames, ClientError> {
        self.caller.get(&path(project, "/secrets")).answer().await
    }

    pub async fn set_secret(
        &self,
        project: &str,
        name: &str,
        request: &SetSecret,
    ) -> Result<(), ClientError> {
        self.caller.call(Method::PUT, &part(project, "/secrets", name)).json(request).done().await
    }

    pub async fn delete_secret(&self, project: &str, name: &str) -> Result<(), ClientError> {
        self.caller.call(Method::DELETE, &part(project, "/secrets", name)).done().await
    }

    /// Registries that images are pulled from with credentials; never the passwords.
    pub async fn registries(&self, project: &str) -> Result<RegistryLogins, ClientError> {
        self.caller.get(&path(project, "/registries")).answer().await
    }

    pub async fn set_registry(
        &self,
        project: &str,
        registry: &str,
        request: &SetRegistry,
    ) -> Result<(), ClientError> {
        self.caller.call(Method::PUT, &part(project, "/registries", registry)).json(request).done().await
    }

    pub async fn delete_registry(&self, project: &str, registry: &str) -> Result<(), ClientError> {
        self.caller.call(Method::DELETE, &part(project, "/registries", registry)).done().await
    }
}

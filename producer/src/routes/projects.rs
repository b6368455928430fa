//! Projects, their variables, secrets and registry credentials. A path names a project by its id or its name.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_api_types::Page;
use gantry_api_types::problem::Problem;
use gantry_api_types::project::{
    ChangeProject, CreateProject, Project, ProjectSummary, RegistryLogins, SecretNames, SetRegistry,
    SetSecret, SetVariable,
};
use gantry_credentials::secret::SecretText;
use gantry_domain::id::ProjectId;
use gantry_domain::project as domain;

use crate::access::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::query::PageParams;
use crate::extract::{ApiJson, ApiQuery};
use crate::services::projects;
use crate::state::App;

/// The caller and the project that the path names: another tenant's does not exist.
pub struct LoadedProject {
    caller: Caller,
    project: domain::Project,
    /// What the path names in it.
    part: String,
}

impl FromRequestParts<Arc<App>> for LoadedProject {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let path: Result<Path<Vec<(String, String)>>, PathRejection> =
            Path::from_request_parts(parts, app).await;
        // A path that cannot be a project's is one that does not exist.
        let mut named = path.map_err(|_| ApiError::not_found())?.0.into_iter().map(|(_, value)| value);
        let project = named.next().ok_or_else(ApiError::not_found)?;
        let project = projects::find(app, caller.organization, &project).await?;
        Ok(Self { caller, project, part: named.next().unwrap_or_default() })
    }
}

/// List projects, newest first.
#[utoipa::path(get, path = "/api/v1/projects", operation_id = "list_projects", tag = "projects", params(PageParams),
    responses((status = 200, body = Page<ProjectSummary>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(params): ApiQuery<PageParams>,
) -> ApiResult<Json<Page<ProjectSummary>>> {
    let after: Option<ProjectId> = params.after()?;
    let page = app.parts.stores.projects.list(caller.organization, after, params.limit()?).await?;
    Ok(Json(Page {
        items: page.items.iter().map(ProjectSummary::of).collect(),
        next_cursor: page.next.map(|id| id.to_string()),
    }))
}

/// Create a project. Runs that name it get what it says.
#[utoipa::path(post, path = "/api/v1/projects", operation_id = "create_project", tag = "projects", request_body = CreateProject,
    responses((status = 201, body = Project, headers(("Location" = String))),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiJson { value, .. }: ApiJson<CreateProject>,
) -> ApiResult<Response> {
    let project = projects::create(&app, caller, value).await?;
    let location = HeaderValue::from_str(&format!("/api/v1/projects/{}", project.id));
    let mut response = (StatusCode::CREATED, Json(Project::of(&project))).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Show a project, by its id or its name.
#[utoipa::path(get, path = "/api/v1/projects/{project}", operation_id = "show_project", tag = "projects", params(("project" = String, Path)),
    responses((status = 200, body = Project),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn show(LoadedProject { project, .. }: LoadedProject) -> Json<Project> {
    Json(Project::of(&project))
}

/// Change a project's settings: what is absent stays, `null` takes it back. Takes effect within 3 seconds.
#[utoipa::path(patch, path = "/api/v1/projects/{project}", operation_id = "change_project", tag = "projects", params(("project" = String, Path)),
    request_body = ChangeProject,
    responses((status = 200, body = Project),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn change(
    State(app): State<Arc<App>>,
    LoadedProject { caller, project, .. }: LoadedProject,
    ApiJson { value, .. }: ApiJson<ChangeProject>,
) -> ApiResult<Json<Project>> {
    let project = projects::change(&app, caller, project, &value).await?;
    Ok(Json(Project::of(&project)))
}

/// Delete a project with its variables and secrets. Its runs stay.
#[utoipa::path(delete, path = "/api/v1/projects/{project}", operation_id = "delete_project", tag = "projects", params(("project" = String, Path)),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn delete(
    State(app): State<Arc<App>>,
    LoadedProject { caller, project, .. }: LoadedProject,
) -> ApiResult<StatusCode> {
    projects::delete(&app, caller, &project).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Set a variable, which every run of the project gets unless it sets its own.
#[utoipa::path(put, path = "/api/v1/projects/{project}/variables/{name}", operation_id = "set_variable", tag = "projects",
    params(("project" = String, Path), ("name" = String, Path)), request_body = SetVariable,
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn set_variable(
    State(app): State<Arc<App>>,
    LoadedProject { caller, project, part }: LoadedProject,
    ApiJson { value, .. }: ApiJson<SetVariable>,
) -> ApiResult<StatusCode> {
    projects::set_variable(&app, caller, project, &part, &value.value).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete a variable.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/variables/{name}", operation_id = "delete_variable", tag = "projects",
    params(("project" = String, Path), ("name" = String, Path)),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn delete_variable(
    State(app): State<Arc<App>>,
    LoadedProject { caller, project, part }: LoadedProject,
) -> ApiResult<StatusCode> {
    projects::delete_variable(&app, caller, project, &part).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the names of a project's secrets, with who set them when. Values are never shown.
#[utoipa::path(get, path = "/api/v1/projects/{project}/secrets", operation_id = "list_secrets", tag = "projects", params(("project" = String, Path)),
    responses((status = 200, body = SecretNames),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn secrets(LoadedProject { project, .. }: LoadedProject) -> Json<SecretNames> {
    Json(SecretNames::of(&project))
}

/// Set a secret. It is kept encrypted, given to the containers of runs that name it, and never shown.
#[utoipa::path(put, path = "/api/v1/projects/{project}/secrets/{name}", operation_id = "set_secret", tag = "projects",
    params(("project" = String, Path), ("name" = String, Path)), request_body = SetSecret,
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn set_secret(
    State(app): State<Arc<App>>,
    LoadedProject { caller, project, part }: LoadedProject,
    ApiJson { value, .. }: ApiJson<SetSecret>,
) -> ApiResult<StatusCode> {
    projects::set_secret(&app, caller, project, &part, SecretText::new(value.value)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete a secret. Runs that wait and name it end with the reason `secret_missing`.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/secrets/{name}", operation_id = "delete_secret", tag = "projects",
    params(("project" = String, Path), ("name" = String, Path)),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn delete_secret(
    State(app): State<Arc<App>>,
    LoadedProject { caller, project, part }: LoadedProject,
) -> ApiResult<StatusCode> {
    projects::delete_secret(&app, caller, project, &part).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the registries that a project has credentials for. Passwords are never shown.
#[utoipa::path(get, path = "/api/v1/projects/{project}/registries", operation_id = "list_registries", tag = "projects", params(("project" = String, Path)),
    responses((status = 200, body = RegistryLogins),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn registries(LoadedProject { project, .. }: LoadedProject) -> Json<RegistryLogins> {
    Json(RegistryLogins::of(&project))
}

/// Set what pulling images from a registry takes. Only pulling sees it, no container does.
#[utoipa::path(put, path = "/api/v1/projects/{project}/registries/{registry}", operation_id = "set_registry", tag = "projects",
    params(("project" = String, Path), ("registry" = String, Path)), request_body = SetRegistry,
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn set_registry(
    State(app): State<Arc<App>>,
    LoadedProject { caller, project, part }: LoadedProject,
    ApiJson { value, .. }: ApiJson<SetRegistry>,
) -> ApiResult<StatusCode> {
    projects::set_registry(&app, caller, project, &part, value).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete a registry's credentials.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/registries/{registry}", operation_id = "delete_registry", tag = "projects",
    params(("project" = String, Path), ("registry" = String, Path)),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn delete_registry(
    State(app): State<Arc<App>>,
    LoadedProject { caller, project, part }: LoadedProject,
) -> ApiResult<StatusCode> {
    projects::delete_registry(&app, caller, project, &part).await?;
    Ok(StatusCode::NO_CONTENT)
}

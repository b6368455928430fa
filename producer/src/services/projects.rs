//! Projects: looked up for every run that names one, so remembered for a moment; and changed, always by compare-and-set.

use std::sync::Arc;
use std::time::Instant;

use gantry_api_types::problem::ProblemCode;
use gantry_api_types::project::{ChangeProject, CreateProject, SetRegistry};
use gantry_credentials::seal::{Place, Sealer};
use gantry_credentials::secret::SecretText;
use gantry_domain::id::OrganizationId;
use gantry_domain::identity::AuditAction;
use gantry_domain::image;
use gantry_domain::project::{Project, RegistryCredential, Sealed, wrong_secret};
use gantry_domain::spec::Violation;
use gantry_store::{Changed, StoreError};

use crate::access::Caller;
use crate::believed::Believed;
use crate::error::{ApiError, ApiResult};
use crate::services::concurrency;
use crate::services::identity::audit;
use crate::state::App;

const MOST: usize = 1_000;

/// Projects looked up a moment ago by name, also those that are not there.
pub struct Projects(Believed<(OrganizationId, String), Option<Arc<Project>>>);

impl Default for Projects {
    fn default() -> Self {
        Self(Believed::new(MOST))
    }
}

impl Projects {
    /// The project of this name as it was a moment ago; `None`: the name is just a name.
    pub async fn named(
        &self,
        app: &App,
        organization: OrganizationId,
        name: &str,
    ) -> Result<Option<Arc<Project>>, StoreError> {
        match self.0.get(&(organization, name.to_owned())) {
            Some(found) => Ok(found),
            None => self.read(app, organization, name).await,
        }
    }

    /// The project of this name as it is now.
    pub async fn read(
        &self,
        app: &App,
        organization: OrganizationId,
        name: &str,
    ) -> Result<Option<Arc<Project>>, StoreError> {
        let asked = Instant::now();
        let found = app.parts.stores.projects.by_name(organization, name).await?.map(Arc::new);
        self.0.put((organization, name.to_owned()), found.clone(), asked);
        Ok(found)
    }

    fn forget(&self, project: &Project) {
        self.0.forget(&(project.organization, project.name.clone()));
    }
}

fn refuse(violations: Vec<Violation>) -> ApiResult<()> {
    if violations.is_empty() { Ok(()) } else { Err(ApiError::validation(violations)) }
}

/// Makes a project of this name, unless there is one.
pub async fn create(app: &App, caller: Caller, request: CreateProject) -> ApiResult<Project> {
    let mut project = Project::new(caller.organization, request.name.clone(), app.now());
    let change = ChangeProject::from(request);
    change.put_on(&mut project).map_err(|wrong| ApiError::validation(vec![wrong]))?;
    refuse(project.violations(&app.config.spec))?;
    if !app.parts.stores.projects.add(&project).await? {
        let detail = format!("There is a project {:?} already: change that one.", project.name);
        return Err(ApiError::new(ProblemCode::AlreadyExists, detail));
    }
    app.projects.forget(&project);
    tell(app, caller, AuditAction::ProjectCreated, &project, None).await;
    Ok(project)
}

/// Writes down what was done to a project, or to what of it.
async fn tell(app: &App, caller: Caller, action: AuditAction, project: &Project, of: Option<(&str, &str)>) {
    let entry = audit::done(app, &caller, action).to(project.id).with("project", &project.name);
    let entry = match of {
        Some((kind, name)) => entry.with(kind, name),
        None => entry,
    };
    audit::write(app, entry).await;
}

/// The project that a path names, by its id or its name.
pub async fn find(app: &App, organization: OrganizationId, named: &str) -> ApiResult<Project> {
    let projects = &app.parts.stores.projects;
    let found = match named.parse() {
        Ok(id) => projects.get(organization, id).await?,
        Err(_) => projects.by_name(organization, named).await?,
    };
    found.ok_or_else(ApiError::not_found)
}

/// Changes a project as `change` says, until that was stored on the state that it was decided on.
async fn update(
    app: &App,
    mut project: Project,
    change: impl Fn(&mut Project) -> ApiResult<()> + Send + Sync,
) -> ApiResult<Project> {
    loop {
        let mut done = Ok(());
        let next = project.next(app.now(), |project| done = change(project));
        done?;
        refuse(next.violations(&app.config.spec))?;
        match app.parts.stores.projects.update(&next).await? {
            Changed::Updated => {
                app.projects.forget(&next);
                return Ok(next);
            }
            Changed::Conflict(now) => project = now,
            // Its name never changes, so it cannot become another's.
            Changed::Taken => return Err(ApiError::internal("a project's name became another's")),
            Changed::NotFound => return Err(ApiError::not_found()),
        }
    }
}

/// Changes settings.
pub async fn change(
    app: &App,
    caller: Caller,
    project: Project,
    request: &ChangeProject,
) -> ApiResult<Project> {
    let before = project.concurrency;
    let put =
        |project: &mut Project| request.put_on(project).map_err(|wrong| ApiError::validation(vec![wrong]));
    let project = update(app, project, put).await?;
    tell(app, caller, AuditAction::ProjectChanged, &project, None).await;
    if project.concurrency != before {
        // With another limit, or none, runs that wait for it may go.
        let key = concurrency::project_key(project.organization, &project.name);
        concurrency::unblock(app, &key, concurrency::WOKEN_AT_ONCE).await?;
        app.wakes.dispatch.wake();
    }
    Ok(project)
}

/// Removes a project with its variables and secrets. Its runs stay.
pub async fn delete(app: &App, caller: Caller, project: &Project) -> ApiResult<()> {
    app.parts.stores.projects.delete(project.organization, project.id).await?;
    app.projects.forget(project);
    tell(app, caller, AuditAction::ProjectDeleted, project, None).await;
    if project.concurrency.is_some() {
        let key = concurrency::project_key(project.organization, &project.name);
        concurrency::unblock(app, &key, concurrency::WOKEN_AT_ONCE).await?;
        app.wakes.dispatch.wake();
    }
    Ok(())
}

pub async fn set_variable(
    app: &App,
    caller: Caller,
    project: Project,
    name: &str,
    value: &str,
) -> ApiResult<()> {
    let set = |project: &mut Project| {
        project.variables.insert(name.to_owned(), value.to_owned());
        Ok(())
    };
    let project = update(app, project, set).await?;
    tell(app, caller, AuditAction::VariableSet, &project, Some(("variable", name))).await;
    Ok(())
}

pub async fn delete_variable(app: &App, caller: Caller, project: Project, name: &str) -> ApiResult<()> {
    let remove =
        |project: &mut Project| project.variables.remove(name).map(drop).ok_or_else(ApiError::not_found);
    let project = update(app, project, remove).await?;
    tell(app, caller, AuditAction::VariableDeleted, &project, Some(("variable", name))).await;
    Ok(())
}

fn sealer(app: &App) -> ApiResult<&Sealer> {
    app.config.sealer.as_deref().ok_or_else(|| {
        ApiError::new(
            ProblemCode::NotConfigured,
            "This installation has no key to keep secrets under: its operator sets `sealing_keys` \
             (`gantry-producer new-sealing-key` makes one).",
        )
    })
}

fn seal(app: &App, caller: Caller, place: &str, value: &SecretText) -> ApiResult<Sealed> {
    let place = Place { organization: caller.organization, name: place };
    let sealed = sealer(app)?.seal(place, value).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(Sealed { sealed, updated_at: app.now(), updated_by: caller.actor })
}

fn check_secret(pointer: &str, value: &SecretText) -> ApiResult<()> {
    wrong_secret(value.expose()).map_or(Ok(()), |wrong| Err(ApiError::field(pointer, wrong)))
}

/// Sets a secret's value, which nobody but a run's container gets to see from then on.
pub async fn set_secret(
    app: &App,
    caller: Caller,
    project: Project,
    name: &str,
    value: SecretText,
) -> ApiResult<()> {
    check_secret("/value", &value)?;
    let sealed = seal(app, caller, &project.secret_place(name), &value)?;
    let set = |project: &mut Project| {
        project.secrets.insert(name.to_owned(), sealed.clone());
        Ok(())
    };
    let project = update(app, project, set).await?;
    tell(app, caller, AuditAction::SecretSet, &project, Some(("secret", name))).await;
    Ok(())
}

pub async fn delete_secret(app: &App, caller: Caller, project: Project, name: &str) -> ApiResult<()> {
    let remove =
        |project: &mut Project| project.secrets.remove(name).map(drop).ok_or_else(ApiError::not_found);
    let project = update(app, project, remove).await?;
    tell(app, caller, AuditAction::SecretDeleted, &project, Some(("secret", name))).await;
    Ok(())
}

/// The registry in a path, as references name it.
fn registry(named: &str) -> ApiResult<String> {
    image::registry(named).map_err(|_| {
        ApiError::invalid_parameter("A registry looks like `registry.example` or `registry.example:5000`.")
    })
}

/// Sets what pulling images from a registry takes.
pub async fn set_registry(
    app: &App,
    caller: Caller,
    project: Project,
    named: &str,
    request: SetRegistry,
) -> ApiResult<()> {
    let registry = registry(named)?;
    let password = SecretText::new(request.password);
    check_secret("/password", &password)?;
    let password = seal(app, caller, &project.registry_place(&registry), &password)?;
    let credential = RegistryCredential { username: request.username, password };
    let set = |project: &mut Project| {
        project.registries.insert(registry.clone(), credential.clone());
        Ok(())
    };
    let project = update(app, project, set).await?;
    tell(app, caller, AuditAction::SecretSet, &project, Some(("registry", &registry))).await;
    Ok(())
}

pub async fn delete_registry(app: &App, caller: Caller, project: Project, named: &str) -> ApiResult<()> {
    let registry = registry(named)?;
    let remove = |project: &mut Project| {
        project.registries.remove(&registry).map(drop).ok_or_else(ApiError::not_found)
    };
    let project = update(app, project, remove).await?;
    tell(app, caller, AuditAction::SecretDeleted, &project, Some(("registry", &registry))).await;
    Ok(())
}

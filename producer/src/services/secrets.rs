//! The secrets of a run: named when it is accepted, opened when it is claimed, and told to its worker only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gantry_credentials::seal::{OpenError, Place};
use gantry_credentials::secret::SecretText;
use gantry_domain::id::OrganizationId;
use gantry_domain::project::Project;
use gantry_domain::run::Run;
use gantry_store::StoreError;

use crate::services::masking::{self, Mask};
use crate::state::App;

/// What a run gets that nobody else may see.
#[derive(Debug, Default)]
pub struct Opened {
    /// By the names of the variables they become.
    pub secrets: BTreeMap<String, SecretText>,
    pub registry: Option<RegistryLogin>,
}

/// For pulling the run's image.
#[derive(Debug)]
pub struct RegistryLogin {
    pub registry: String,
    pub username: String,
    pub password: SecretText,
}

impl Opened {
    /// Everything to mask: the values in every form.
    pub fn masked(&self) -> Vec<String> {
        self.values().iter().flat_map(|value| masking::forms(value)).collect()
    }

    fn values(&self) -> Vec<String> {
        let password = self.registry.iter().map(|login| &login.password);
        self.secrets.values().chain(password).map(|secret| secret.expose().to_owned()).collect()
    }
}

/// Why a run's secrets cannot be had. The sentences are for its owner.
#[derive(Debug)]
pub enum Unopened {
    /// Somebody took one away.
    Gone(String),
    /// One is there, and this installation cannot open it.
    Closed(String),
    Store(StoreError),
}

impl From<StoreError> for Unopened {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Opens the secrets that a run names as they are now. Asks no store for a run without a project.
pub async fn open(app: &App, run: &Run) -> Result<Opened, Unopened> {
    let (organization, spec) = (run.organization, &run.spec);
    let project = match &spec.project {
        None => None,
        // Somebody may have replaced one because it leaked: then the old one must not go out any more.
        Some(name) if !spec.secrets.is_empty() => app.projects.read(app, organization, name).await?,
        Some(name) => app.projects.named(app, organization, name).await?,
    };
    let mut opened = Opened::default();
    for name in &spec.secrets {
        let secret = open_one(app, run, project.as_deref(), name).await?;
        opened.secrets.insert(name.clone(), secret);
    }
    if let (Some(project), Some(image)) = (&project, &spec.image) {
        opened.registry = login(app, project, image)?;
    }
    Ok(opened)
}

async fn open_one(
    app: &App,
    run: &Run,
    project: Option<&Project>,
    name: &str,
) -> Result<SecretText, Unopened> {
    if let Some((project, sealed)) = project.and_then(|project| Some((project, project.secrets.get(name)?))) {
        let what = format!("The secret {name}");
        return unseal(app, run.organization, &project.secret_place(name), &sealed.sealed, &what);
    }
    installation(app, run.organization).await?.remove(name).ok_or_else(|| {
        let whose = match &run.spec.project {
            Some(project) => format!("The project {project:?}"),
            None => "This installation".to_owned(),
        };
        Unopened::Gone(format!("{whose} has no secret {name} any more."))
    })
}

/// Keeps a run's secrets out of what is stored about it. One that was taken away meanwhile is not known any more.
pub async fn mask(app: &App, run: &Run) -> Result<Mask, StoreError> {
    if run.spec.secrets.is_empty() {
        return Ok(Mask::default());
    }
    let project = match &run.spec.project {
        Some(name) => app.projects.named(app, run.organization, name).await?,
        None => None,
    };
    let mut values = Vec::new();
    for name in &run.spec.secrets {
        match open_one(app, run, project.as_deref(), name).await {
            Ok(secret) => values.push(secret.expose().to_owned()),
            Err(Unopened::Store(error)) => return Err(error),
            Err(Unopened::Gone(_) | Unopened::Closed(_)) => {}
        }
    }
    Ok(Mask::new(&values))
}

fn login(app: &App, project: &Arc<Project>, image: &str) -> Result<Option<RegistryLogin>, Unopened> {
    let Some((registry, credential)) = project.credential_for(image) else { return Ok(None) };
    let what = format!("The password for {registry}");
    let place = project.registry_place(registry);
    let password = unseal(app, project.organization, &place, &credential.password.sealed, &what)?;
    Ok(Some(RegistryLogin { registry: registry.to_owned(), username: credential.username.clone(), password }))
}

fn unseal(
    app: &App,
    organization: OrganizationId,
    place: &str,
    sealed: &str,
    what: &str,
) -> Result<SecretText, Unopened> {
    let closed = |why: &str| Unopened::Closed(format!("{what} cannot be opened: {why}."));
    let Some(sealer) = &app.config.sealer else {
        return Err(closed("the producer has no sealing keys"));
    };
    sealer.open(Place { organization, name: place }, sealed).map_err(|error| match error {
        OpenError::UnknownKey(key) => closed(&format!("the producer does not have the key {key:?}")),
        OpenError::Refused | OpenError::Malformed => closed("it was changed, or belongs elsewhere"),
    })
}

/// The configuration's own secrets, which only runs of the organization that operates the installation may name: its people
/// wrote them there.
async fn installation(
    app: &App,
    organization: OrganizationId,
) -> Result<BTreeMap<String, SecretText>, StoreError> {
    if app.config.secrets.is_empty()
        || app.identity.operators(&*app.parts.stores.auth).await? != Some(organization)
    {
        return Ok(BTreeMap::new());
    }
    let text = |(name, secret): (&String, &gantry_service_kit::config::Secret)| {
        (name.clone(), SecretText::new(secret.expose()))
    };
    Ok(app.config.secrets.iter().map(text).collect())
}

/// Which of these names mean no secret. Asks no store for what the project has.
pub async fn unknown(
    app: &App,
    organization: OrganizationId,
    project: Option<&Project>,
    names: &[String],
) -> Result<BTreeSet<usize>, StoreError> {
    let of_project = |name: &String| project.is_some_and(|project| project.secrets.contains_key(name));
    let mut unknown: BTreeSet<usize> = (0..names.len()).filter(|&index| !of_project(&names[index])).collect();
    if !unknown.is_empty() {
        let known = installation(app, organization).await?;
        unknown.retain(|&index| !known.contains_key(&names[index]));
    }
    Ok(unknown)
}

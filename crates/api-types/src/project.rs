//! Projects: what callers send to make and change them, and how they are shown. Secrets go in only; what comes out are their
//! names, and who set them when.

use std::collections::BTreeMap;
use std::fmt;

use gantry_domain::image::ParsePatternError;
use gantry_domain::project as domain;
use gantry_domain::spec::{self, ParseNameError, Violation};
use gantry_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::request::{Resources, Retries};

/// `POST /api/v1/projects`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    /// What runs name in `project`. It stays: runs carry it.
    #[schema(example = "web-shop")]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::optional")]
    pub defaults: Option<ProjectDefaults>,
    /// How many of its runs may go on at once; no limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::optional")]
    pub retention: Option<ProjectRetention>,
    /// The images that its runs may run, such as `registry.example/team/*`; any if absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

/// `PATCH /api/v1/projects/{project}`. What is absent stays, `null` takes it back, and what is given replaces the whole of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeProject {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::given")]
    #[schema(value_type = Option<String>)]
    pub description: Option<Option<String>>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::object::given_object"
    )]
    #[schema(value_type = Option<ProjectDefaults>)]
    pub defaults: Option<Option<ProjectDefaults>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::given")]
    #[schema(value_type = Option<u32>)]
    pub concurrency: Option<Option<u32>>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::object::given_object"
    )]
    #[schema(value_type = Option<ProjectRetention>)]
    pub retention: Option<Option<ProjectRetention>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::given")]
    #[schema(value_type = Option<Vec<String>>)]
    pub images: Option<Option<Vec<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::given")]
    #[schema(value_type = Option<Network>)]
    pub network: Option<Option<Network>>,
}

impl From<CreateProject> for ChangeProject {
    fn from(request: CreateProject) -> Self {
        Self {
            description: Some(request.description),
            defaults: Some(request.defaults),
            concurrency: Some(request.concurrency),
            retention: Some(request.retention),
            images: Some(request.images),
            network: Some(request.network),
        }
    }
}

impl ChangeProject {
    /// Puts what was given on the project, or names the first field that cannot be one.
    pub fn put_on(&self, project: &mut domain::Project) -> Result<(), Violation> {
        let refuse = |pointer: String, message: String| Violation { pointer, message };
        if let Some(description) = &self.description {
            project.description = description.clone().unwrap_or_default();
        }
        if let Some(defaults) = &self.defaults {
            let defaults = defaults.clone().unwrap_or_default().into_domain();
            project.defaults =
                defaults.map_err(|error| refuse("/defaults/pool".to_owned(), error.to_string()))?;
        }
        if let Some(concurrency) = self.concurrency {
            project.concurrency = concurrency;
        }
        if let Some(retention) = &self.retention {
            let ProjectRetention { days, runs } = retention.clone().unwrap_or_default();
            project.retention = domain::Retention { days, runs };
        }
        if let Some(images) = &self.images {
            let patterns = images.iter().flatten().enumerate().map(|(i, text)| {
                text.parse()
                    .map_err(|error: ParsePatternError| refuse(format!("/images/{i}"), error.to_string()))
            });
            project.images = patterns.collect::<Result<_, _>>()?;
        }
        if let Some(network) = self.network {
            project.network = network.unwrap_or_default().into();
        }
        Ok(())
    }
}

/// What a run of the project gets when it does not say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectDefaults {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// `BASE_URL` by environment; `*` stands for every other one, and for none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"staging": "https://staging.shop.example"}))]
    pub base_urls: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::optional")]
    pub retries: Option<Retries>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::optional")]
    pub resources: Option<Resources>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Vec<String>>,
}

impl ProjectDefaults {
    fn into_domain(self) -> Result<domain::Defaults, ParseNameError> {
        Ok(domain::Defaults {
            image: self.image,
            command: self.command,
            folder: self.folder,
            environment: self.environment,
            base_urls: self.base_urls,
            timeout_seconds: self.timeout_seconds,
            retries: self.retries.map(|retries| retries.over(spec::RetryPolicy::default())),
            resources: self.resources.map(|resources| resources.over(spec::Resources::default())),
            pool: self.pool.map(|pool| pool.parse()).transpose()?,
            artifacts: self.artifacts,
        })
    }

    fn of(defaults: &domain::Defaults) -> Self {
        Self {
            image: defaults.image.clone(),
            command: defaults.command.clone(),
            folder: defaults.folder.clone(),
            environment: defaults.environment.clone(),
            base_urls: defaults.base_urls.clone(),
            timeout_seconds: defaults.timeout_seconds,
            retries: defaults.retries.as_ref().map(Retries::of),
            resources: defaults.resources.as_ref().map(Resources::of),
            pool: defaults.pool.as_ref().map(ToString::to_string),
            artifacts: defaults.artifacts.clone(),
        }
    }
}

/// Which ended runs go, with log, results and artifacts. With neither, none do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectRetention {
    /// Those that ended longer ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// All but so many of the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<u32>,
}

/// What runs may talk to; never anything of Gantry's or of another run's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    #[default]
    Outside,
    /// Only itself.
    None,
}

impl From<Network> for spec::Network {
    fn from(network: Network) -> Self {
        match network {
            Network::Outside => Self::Outside,
            Network::None => Self::None,
        }
    }
}

impl From<spec::Network> for Network {
    fn from(network: spec::Network) -> Self {
        match network {
            spec::Network::Outside => Self::Outside,
            spec::Network::None => Self::None,
        }
    }
}

/// `PUT /api/v1/projects/{project}/variables/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetVariable {
    pub value: String,
}

/// `PUT /api/v1/projects/{project}/secrets/{name}`. Does not print itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSecret {
    /// 4 bytes to 32 KiB. It is never shown again.
    #[schema(write_only, format = Password)]
    pub value: String,
}

/// `PUT /api/v1/projects/{project}/registries/{registry}`. Does not print itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRegistry {
    pub username: String,
    /// Or a token. It is never shown again.
    #[schema(write_only, format = Password)]
    pub password: String,
}

impl fmt::Debug for SetSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetSecret(…)")
    }
}

impl fmt::Debug for SetRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetRegistry").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A project as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectSummary {
    pub id: String,
    pub name: String,
    pub description: String,
    /// The default one.
    pub image: Option<String>,
    pub variables: u32,
    pub secrets: u32,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl ProjectSummary {
    pub fn of(project: &domain::Project) -> Self {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            id: project.id.to_string(),
            name: project.name.clone(),
            description: project.description.clone(),
            image: project.defaults.image.clone(),
            variables: count(project.variables.len()),
            secrets: count(project.secrets.len()),
            created_at: project.created_at,
            updated_at: project.updated_at,
        }
    }
}

/// A project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    pub id: String,
    pub name: String,
    pub description: String,
    pub defaults: ProjectDefaults,
    pub concurrency: Option<u32>,
    pub retention: ProjectRetention,
    pub images: Vec<String>,
    pub network: Network,
    /// Plain values: whoever may see runs may see them.
    pub variables: BTreeMap<String, String>,
    pub secrets: Vec<SecretName>,
    pub registries: Vec<RegistryLogin>,
    /// Counts changes.
    pub version: u64,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretName {
    pub name: String,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// A user's id or a key's.
    pub updated_by: String,
}

/// What Gantry signs in to a registry with, without the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistryLogin {
    pub registry: String,
    pub username: String,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    pub updated_by: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretNames {
    pub items: Vec<SecretName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistryLogins {
    pub items: Vec<RegistryLogin>,
}

impl SecretNames {
    pub fn of(project: &domain::Project) -> Self {
        let name = |(name, sealed): (&String, &domain::Sealed)| SecretName {
            name: name.clone(),
            updated_at: sealed.updated_at,
            updated_by: sealed.updated_by.to_string(),
        };
        Self { items: project.secrets.iter().map(name).collect() }
    }
}

impl RegistryLogins {
    pub fn of(project: &domain::Project) -> Self {
        let login = |(registry, found): (&String, &domain::RegistryCredential)| RegistryLogin {
            registry: registry.clone(),
            username: found.username.clone(),
            updated_at: found.password.updated_at,
            updated_by: found.password.updated_by.to_string(),
        };
        Self { items: project.registries.iter().map(login).collect() }
    }
}

impl Project {
    pub fn of(project: &domain::Project) -> Self {
        Self {
            id: project.id.to_string(),
            name: project.name.clone(),
            description: project.description.clone(),
            defaults: ProjectDefaults::of(&project.defaults),
            concurrency: project.concurrency,
            retention: ProjectRetention { days: project.retention.days, runs: project.retention.runs },
            images: project.images.iter().map(ToString::to_string).collect(),
            network: project.network.into(),
            variables: project.variables.clone(),
            secrets: SecretNames::of(project).items,
            registries: RegistryLogins::of(project).items,
            version: project.version,
            created_at: project.created_at,
            updated_at: project.updated_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_touches_what_it_names() {
        let now = Timestamp::EPOCH;
        let mut project = domain::Project::new(gantry_domain::id::OrganizationId::new(), "shop".into(), now);
        let change = |text: &str| serde_json::from_str::<ChangeProject>(text).unwrap();
        change(r#"{"concurrency":3,"images":["a/*"],"defaults":{"image":"a/b"},"network":"none"}"#)
            .put_on(&mut project)
            .unwrap();
        let before = project.clone();
        change("{}").put_on(&mut project).unwrap();
        assert_eq!(project, before);
        change(r#"{"concurrency":null,"defaults":null}"#).put_on(&mut project).unwrap();
        assert_eq!((project.concurrency, &project.defaults.image), (None, &None));
        assert_eq!((project.images.len(), project.network), (1, spec::Network::None));
        let wrong = change(r#"{"images":["ok","a b"]}"#).put_on(&mut project).unwrap_err();
        assert_eq!(wrong.pointer, "/images/1");
        assert!(serde_json::from_str::<ChangeProject>(r#"{"name":"x"}"#).is_err());
        assert!(serde_json::from_str::<ChangeProject>(r#"{"retention":[1,2]}"#).is_err());
    }

    #[test]
    fn requests_with_secrets_do_not_print_them() {
        let secret = SetSecret { value: "hunter2".into() };
        let registry = SetRegistry { username: "ann".into(), password: "hunter2".into() };
        assert!(!format!("{secret:?} {registry:?}").contains("hunter2"));
    }
}

//! A project: a named automation with its defaults, variables, secrets and rules. Runs name it by its name, and get what it
//! says when they are accepted; of its secrets they carry the names only.
//!
//! As with [`Run`](crate::run::Run), whoever changes a project reads it, makes its successor, and stores that by
//! compare-and-set on its version.

use std::collections::BTreeMap;
use std::fmt;

use crate::id::{OrganizationId, ProjectId};
use crate::image::{ImagePattern, ImageReference};
use crate::run::Actor;
use crate::spec::{
    Check, Network, Pool, Priority, Resources, RetryPolicy, RunSpec, SpecLimits, Violation, escape,
};
use crate::time::Timestamp;

/// Of one project.
pub const MAX_SECRETS: usize = 100;
pub const MAX_REGISTRIES: usize = 20;
pub const MAX_IMAGE_PATTERNS: usize = 100;
const MAX_VARIABLE_BYTES: usize = 256 * 1024;
const MAX_SEALED_BYTES: usize = 512 * 1024;
/// A secret's bytes. Shorter ones cannot be kept out of logs without tearing unrelated text apart.
pub const SHORTEST_SECRET: usize = 4;
pub const LONGEST_SECRET: usize = 32 * 1024;
/// Ended runs that a project may be told to keep, at most.
pub const MOST_KEPT_RUNS: u32 = 10_000;

/// A named automation.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    pub id: ProjectId,
    pub organization: OrganizationId,
    /// Counts writes; every change is a compare-and-set on it.
    pub version: u64,
    /// What runs name; unique within the organization, and never changed: runs carry it.
    pub name: String,
    pub description: String,
    pub defaults: Defaults,
    /// Of its runs, how many may go on at once.
    pub concurrency: Option<u32>,
    pub retention: Retention,
    /// What its runs may run; empty: any image.
    pub images: Vec<ImagePattern>,
    /// What its runs may talk to.
    pub network: Network,
    /// Weaker than those of a run.
    pub variables: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Sealed>,
    /// By the registry's name, as references have it.
    pub registries: BTreeMap<String, RegistryCredential>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What a run gets when it does not say otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    pub image: Option<String>,
    pub command: Option<Vec<String>>,
    pub folder: Option<String>,
    pub environment: Option<String>,
    /// Where what is tested is, by environment; under `*` for all others.
    pub base_urls: BTreeMap<String, String>,
    pub timeout_seconds: Option<u32>,
    pub retries: Option<RetryPolicy>,
    pub resources: Option<Resources>,
    pub pool: Option<Pool>,
    pub artifacts: Option<Vec<String>>,
}

/// The environment that stands for those without a URL of their own.
pub const ANY_ENVIRONMENT: &str = "*";

impl Defaults {
    /// The URL of an environment, or that of none.
    pub fn base_url(&self, environment: Option<&str>) -> Option<&String> {
        environment.and_then(|name| self.base_urls.get(name)).or_else(|| self.base_urls.get(ANY_ENVIRONMENT))
    }
}

/// Which ended runs go, with all they left: those older than `days`, and all but the newest `runs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    pub days: Option<u32>,
    pub runs: Option<u32>,
}

impl Retention {
    pub fn is_some(self) -> bool {
        self.days.is_some() || self.runs.is_some()
    }
}

/// A secret as it is kept. Only who has the key it names can open it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    pub sealed: String,
    pub updated_at: Timestamp,
    pub updated_by: Actor,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} by {})", self.updated_at, self.updated_by)
    }
}

/// What a registry asks for before it gives its images. Only pulling sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryCredential {
    pub username: String,
    pub password: Sealed,
}

/// Why an image may not be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageRefused {
    #[error("the project {project:?} allows certain images only, and this is not plainly a reference to one")]
    Unclear { project: String },
    #[error("the project {project:?} does not allow this image; it allows {allowed}")]
    NotAllowed { project: String, allowed: String },
}

impl Project {
    /// A new project, without anything but its name.
    pub fn new(organization: OrganizationId, name: String, now: Timestamp) -> Self {
        Self {
            id: ProjectId::new(),
            organization,
            version: 1,
            name,
            description: String::new(),
            defaults: Defaults::default(),
            concurrency: None,
            retention: Retention::default(),
            images: Vec::new(),
            network: Network::default(),
            variables: BTreeMap::new(),
            secrets: BTreeMap::new(),
            registries: BTreeMap::new(),
            created_at: now,
            updated_at: now,
        }
    }

    /// Its successor, changed by `change`.
    #[must_use]
    pub fn next(&self, now: Timestamp, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        Self { version: self.version + 1, updated_at: now, ..next }
    }

    /// What a secret is sealed for; it opens nowhere else.
    pub fn secret_place(&self, name: &str) -> String {
        format!("project/{}/secret/{name}", self.id)
    }

    /// As [`secret_place`](Self::secret_place), for a registry's password.
    pub fn registry_place(&self, registry: &str) -> String {
        format!("project/{}/registry/{registry}", self.id)
    }

    /// Whether its runs may run this image.
    pub fn allows(&self, image: &str) -> Result<(), ImageRefused> {
        if self.images.is_empty() {
            return Ok(());
        }
        let project = || self.name.clone();
        let reference: ImageReference =
            image.parse().map_err(|_| ImageRefused::Unclear { project: project() })?;
        if self.images.iter().any(|pattern| pattern.fits(&reference)) {
            return Ok(());
        }
        let named: Vec<_> = self.images.iter().take(5).map(ImagePattern::as_str).collect();
        let more = if self.images.len() > named.len() { " and others" } else { "" };
        Err(ImageRefused::NotAllowed { project: project(), allowed: format!("{}{more}", named.join(", ")) })
    }

    /// The credential for pulling this image.
    pub fn credential_for(&self, image: &str) -> Option<(&str, &RegistryCredential)> {
        let reference: ImageReference = image.parse().ok()?;
        self.registries
            .get_key_value(&reference.registry)
            .map(|(name, credential)| (name.as_str(), credential))
    }

    /// A run of it that says nothing of its own.
    fn plain_run(&self) -> RunSpec {
        let defaults = &self.defaults;
        RunSpec {
            project: Some(self.name.clone()),
            image: defaults.image.clone(),
            command: defaults.command.clone(),
            folder: defaults.folder.clone(),
            environment: defaults.environment.clone(),
            base_url: None,
            variables: self.variables.clone(),
            secrets: Vec::new(),
            group: None,
            labels: BTreeMap::new(),
            pool: defaults.pool.clone().unwrap_or_default(),
            priority: Priority::default(),
            timeout_seconds: defaults.timeout_seconds.unwrap_or(1),
            retries: defaults.retries.clone().unwrap_or_default(),
            at_most_once: false,
            resources: defaults.resources.unwrap_or_default(),
            network: self.network,
            artifacts: defaults.artifacts.clone().unwrap_or_default(),
            workdir: None,
        }
    }

    /// Everything that is wrong with it, by JSON pointer into the project.
    pub fn violations(&self, limits: &SpecLimits) -> Vec<Violation> {
        let mut check = Check::default();
        for wrong in self.plain_run().violations(limits) {
            let pointer = match wrong.pointer.as_str() {
                "/project" => "/name".to_owned(),
                variables if variables.starts_with("/variables") => variables.to_owned(),
                other => format!("/defaults{other}"),
            };
            check.refuse(&pointer, wrong.message);
        }
        if self.name.starts_with(ProjectId::PREFIX)
            || self.name.contains('/')
            || self.name != self.name.trim()
        {
            check.refuse(
                "/name",
                "a project's name has no `/`, no space around it, and does not begin like an id",
            );
        }
        check.printable("/description", &self.description, 1000);
        check.count("/defaults/base_urls", self.defaults.base_urls.len(), 50);
        for (environment, url) in &self.defaults.base_urls {
            let pointer = format!("/defaults/base_urls/{}", escape(environment));
            check.text(&pointer, Some(environment), 100);
            check.text(&pointer, Some(url), 2048);
            check.http(&pointer, url);
        }
        let mut at_least_one = |pointer: &str, value: Option<u32>, max: u32| {
            if let Some(value) = value {
                check.range(pointer, value, 1, max);
            }
        };
        at_least_one("/concurrency", self.concurrency, 100_000);
        at_least_one("/retention/days", self.retention.days, 3_650);
        at_least_one("/retention/runs", self.retention.runs, MOST_KEPT_RUNS);
        check.count("/images", self.images.len(), MAX_IMAGE_PATTERNS);
        let bytes: usize = self.variables.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_VARIABLE_BYTES {
            check.refuse("/variables", "a project's variables have at most 256 KiB together");
        }
        self.check_secrets(&mut check);
        check.violations
    }

    fn check_secrets(&self, check: &mut Check) {
        check.count("/secrets", self.secrets.len(), MAX_SECRETS);
        for name in self.secrets.keys() {
            check.variable_name(&format!("/secrets/{}", escape(name)), name);
        }
        check.count("/registries", self.registries.len(), MAX_REGISTRIES);
        for (registry, credential) in &self.registries {
            let pointer = format!("/registries/{}", escape(registry));
            check.text(&pointer, Some(&credential.username), 255);
        }
        let passwords = self.registries.values().map(|credential| &credential.password);
        let bytes: usize = self.secrets.values().chain(passwords).map(|sealed| sealed.sealed.len()).sum();
        if bytes > MAX_SEALED_BYTES {
            check.refuse("/secrets", "a project's secrets have at most 512 KiB together");
        }
    }
}

/// What is wrong with a secret's value; `None`: nothing.
pub fn wrong_secret(value: &str) -> Option<&'static str> {
    if value.len() < SHORTEST_SECRET {
        Some("a secret has at least 4 bytes: a shorter one could not be kept out of logs")
    } else if value.len() > LONGEST_SECRET {
        Some("a secret has at most 32 KiB")
    } else if value.contains('\0') {
        Some("NUL bytes are not allowed")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> Project {
        Project::new(OrganizationId::new(), "shop".into(), Timestamp::EPOCH)
    }

    #[test]
    fn every_wrong_field_is_named() {
        let sealed = Sealed {
            sealed: "x".repeat(600 * 1024),
            updated_at: Timestamp::EPOCH,
            updated_by: Actor::System,
        };
        let wrong = project().next(Timestamp::EPOCH, |project| {
            project.name = "prj_1".into();
            project.description = "a\nb".into();
            project.defaults.timeout_seconds = Some(0);
            project.defaults.image = Some("--pid=host".into());
            project.defaults.base_urls.insert("staging".into(), "ftp://x".into());
            project.concurrency = Some(0);
            project.retention = Retention { days: Some(0), runs: Some(10_001) };
            project.variables.insert("A B".into(), "x".into());
            project.secrets.insert("GANTRY_X".into(), sealed);
        });
        let found: Vec<_> = wrong.violations(&SpecLimits::default()).into_iter().map(|v| v.pointer).collect();
        assert_eq!(
            found,
            [
                "/defaults/image",
                "/variables/A B",
                "/defaults/timeout_seconds",
                "/name",
                "/description",
                "/defaults/base_urls/staging",
                "/concurrency",
                "/retention/days",
                "/retention/runs",
                "/secrets/GANTRY_X",
                "/secrets",
            ]
        );
        assert_eq!(project().violations(&SpecLimits::default()), []);
        assert_eq!(wrong.version, 2);
    }

    #[test]
    fn only_allowed_images_are_run() {
        let any = project();
        assert_eq!(any.allows("whatever it is"), Ok(()));
        let some = any.next(Timestamp::EPOCH, |project| {
            project.images = vec!["registry.example/team/*".parse().unwrap(), "alpine:3".parse().unwrap()];
        });
        assert_eq!(some.allows("registry.example/team/app:1"), Ok(()));
        assert_eq!(some.allows("docker.io/library/alpine:3"), Ok(()));
        let refused = some.allows("alpine").unwrap_err().to_string();
        assert!(refused.contains("registry.example/team/*, alpine:3"), "{refused}");
        assert!(matches!(some.allows("a b"), Err(ImageRefused::Unclear { .. })));
    }

    #[test]
    fn the_url_of_an_environment_is_its_own_or_that_of_all_others() {
        let mut defaults = Defaults::default();
        assert_eq!(defaults.base_url(Some("staging")), None);
        defaults.base_urls.insert("staging".into(), "https://staging".into());
        defaults.base_urls.insert("*".into(), "https://any".into());
        let url = |environment| defaults.base_url(environment).map(String::as_str);
        assert_eq!(url(Some("staging")), Some("https://staging"));
        assert_eq!(url(Some("production")), Some("https://any"));
        assert_eq!(url(None), Some("https://any"));
    }

    #[test]
    fn a_sealed_secret_does_not_print_itself() {
        let sealed =
            Sealed { sealed: "v1.k.abc".into(), updated_at: Timestamp::EPOCH, updated_by: Actor::System };
        assert!(!format!("{sealed:?}").contains("abc"));
    }

    #[test]
    fn secrets_can_be_masked_and_handed_to_a_program() {
        assert_eq!(wrong_secret("abcd"), None);
        for bad in ["", "abc", "ab\0cd", &"x".repeat(LONGEST_SECRET + 1)] {
            assert!(wrong_secret(bad).is_some());
        }
    }
}

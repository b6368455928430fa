//! Records of projects. Secrets are in them as they were sealed.

use std::collections::BTreeMap;

use gantry_domain::id::{OrganizationId, ProjectId};
use gantry_domain::project::{Defaults, Project, RegistryCredential, Retention, Sealed};
use gantry_domain::run::Actor;
use gantry_domain::spec::{Network, Pool};
use serde::{Deserialize, Serialize};

use super::spec::{ResourcesRecord, RetriesRecord};
use super::{Millis, Record, VERSION, is_default, read, write};
use crate::{Result, StoreError};

#[derive(Serialize, Deserialize)]
struct ProjectRecord {
    v: u32,
    id: ProjectId,
    version: u64,
    organization: OrganizationId,
    name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    description: String,
    #[serde(default, skip_serializing_if = "is_default")]
    defaults: DefaultsRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_days: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_runs: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    images: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    network: Network,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<String, SealedRecord>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    registries: BTreeMap<String, RegistryRecord>,
    created_at: Millis,
    updated_at: Millis,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
struct DefaultsRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    base_urls: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retries: Option<RetriesRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resources: Option<ResourcesRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool: Option<Pool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifacts: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
struct SealedRecord {
    sealed: String,
    at: Millis,
    by: Actor,
}

#[derive(Serialize, Deserialize)]
struct RegistryRecord {
    username: String,
    password: SealedRecord,
}

impl Record for ProjectRecord {
    const KIND: &'static str = "project";
    fn version(&self) -> u32 {
        self.v
    }
}

impl From<&Sealed> for SealedRecord {
    fn from(sealed: &Sealed) -> Self {
        Self { sealed: sealed.sealed.clone(), at: sealed.updated_at.into(), by: sealed.updated_by }
    }
}

impl From<SealedRecord> for Sealed {
    fn from(record: SealedRecord) -> Self {
        Self { sealed: record.sealed, updated_at: record.at.into(), updated_by: record.by }
    }
}

pub(crate) fn encode_project(project: &Project) -> Result<Vec<u8>> {
    let defaults = project.defaults.clone();
    let registry = |credential: &RegistryCredential| RegistryRecord {
        username: credential.username.clone(),
        password: (&credential.password).into(),
    };
    write(&ProjectRecord {
        v: VERSION,
        id: project.id,
        version: project.version,
        organization: project.organization,
        name: project.name.clone(),
        description: project.description.clone(),
        defaults: DefaultsRecord {
            image: defaults.image,
            command: defaults.command,
            folder: defaults.folder,
            environment: defaults.environment,
            base_urls: defaults.base_urls,
            timeout_seconds: defaults.timeout_seconds,
            retries: defaults.retries.map(Into::into),
            resources: defaults.resources.map(Into::into),
            pool: defaults.pool,
            artifacts: defaults.artifacts,
        },
        concurrency: project.concurrency,
        keep_days: project.retention.days,
        keep_runs: project.retention.runs,
        images: project.images.iter().map(ToString::to_string).collect(),
        network: project.network,
        variables: project.variables.clone(),
        secrets: project.secrets.iter().map(|(name, sealed)| (name.clone(), sealed.into())).collect(),
        registries: project.registries.iter().map(|(name, found)| (name.clone(), registry(found))).collect(),
        created_at: project.created_at.into(),
        updated_at: project.updated_at.into(),
    })
}

pub(crate) fn decode_project(document: &[u8]) -> Result<Project> {
    let record: ProjectRecord = read(document)?;
    let defaults = record.defaults;
    // Leaving out a pattern that cannot be read would forbid more than was meant, or, of the only one, forbid nothing.
    let pattern = |text: String| {
        text.parse().map_err(|_| StoreError::Corrupt(format!("a project allows the images {text:?}")))
    };
    let registry = |record: RegistryRecord| RegistryCredential {
        username: record.username,
        password: record.password.into(),
    };
    Ok(Project {
        id: record.id,
        organization: record.organization,
        version: record.version,
        name: record.name,
        description: record.description,
        defaults: Defaults {
            image: defaults.image,
            command: defaults.command,
            folder: defaults.folder,
            environment: defaults.environment,
            base_urls: defaults.base_urls,
            timeout_seconds: defaults.timeout_seconds,
            retries: defaults.retries.map(Into::into),
            resources: defaults.resources.map(Into::into),
            pool: defaults.pool,
            artifacts: defaults.artifacts,
        },
        concurrency: record.concurrency,
        retention: Retention { days: record.keep_days, runs: record.keep_runs },
        images: record.images.into_iter().map(pattern).collect::<Result<_>>()?,
        network: record.network,
        variables: record.variables,
        secrets: record.secrets.into_iter().map(|(name, sealed)| (name, sealed.into())).collect(),
        registries: record.registries.into_iter().map(|(name, found)| (name, registry(found))).collect(),
        created_at: record.created_at.into(),
        updated_at: record.updated_at.into(),
    })
}

#[cfg(test)]
mod tests {
    use gantry_domain::id::KeyId;
    use gantry_domain::spec::{Resources, RetryPolicy};
    use gantry_domain::time::Timestamp;

    use super::*;

    const GOLDEN: &str = concat!(
        r#"{"v":1,"id":"prj_…1","version":2,"organization":"org_…2","name":"shop","description":"The shop","#,
        r#""defaults":{"image":"shop:1","command":["true"],"folder":"tests","environment":"staging","#,
        r#""base_urls":{"staging":"https://staging"},"timeout_seconds":60,"#,
        r#""retries":{"max":0,"on":["failed","timed_out"],"backoff_seconds":10,"max_lost":2},"#,
        r#""resources":{"cpu_millis":2000,"memory_mb":2048,"pids":512},"pool":"gpu","artifacts":["reports"]},"#,
        r#""concurrency":3,"keep_days":30,"keep_runs":100,"images":["registry.example/team/*"],"network":"none","#,
        r#""variables":{"A":"1"},"secrets":{"TOKEN":{"sealed":"v1.k.x","at":1000,"by":{"key":"key_…3"}}},"#,
        r#""registries":{"registry.example":{"username":"ann","password":{"sealed":"v1.k.y","at":2000,"by":"system"}}},"#,
        r#""created_at":0,"updated_at":3000}"#
    );

    fn project() -> Project {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let sealed = |text: &str, seconds, updated_by| Sealed {
            sealed: text.into(),
            updated_at: at(seconds),
            updated_by,
        };
        let password = sealed("v1.k.y", 2, Actor::System);
        let project =
            Project::new(OrganizationId::from_u128(2), "shop".into(), at(0)).next(at(3), |project| {
                project.description = "The shop".into();
                project.defaults = Defaults {
                    image: Some("shop:1".into()),
                    command: Some(vec!["true".into()]),
                    folder: Some("tests".into()),
                    environment: Some("staging".into()),
                    base_urls: [("staging".into(), "https://staging".into())].into(),
                    timeout_seconds: Some(60),
                    retries: Some(RetryPolicy::default()),
                    resources: Some(Resources::default()),
                    pool: Some("gpu".parse().unwrap()),
                    artifacts: Some(vec!["reports".into()]),
                };
                project.concurrency = Some(3);
                project.retention = Retention { days: Some(30), runs: Some(100) };
                project.images = vec!["registry.example/team/*".parse().unwrap()];
                project.network = Network::None;
                project.variables = [("A".into(), "1".into())].into();
                let by = Actor::Key(KeyId::from_u128(3));
                project.secrets = [("TOKEN".into(), sealed("v1.k.x", 1, by))].into();
                let credential = RegistryCredential { username: "ann".into(), password };
                project.registries = [("registry.example".into(), credential)].into();
            });
        Project { id: ProjectId::from_u128(1), ..project }
    }

    #[test]
    fn a_record_is_written_and_read_as_the_first_version_did() {
        let golden = GOLDEN.replace('…', &"0".repeat(25));
        assert_eq!(String::from_utf8(encode_project(&project()).unwrap()).unwrap(), golden);
        assert_eq!(decode_project(golden.as_bytes()).unwrap(), project());
        let newer = golden.replacen("{\"v\":1,", "{\"v\":1,\"mood\":[1],", 1);
        assert_eq!(decode_project(newer.as_bytes()).unwrap(), project());
        let plain = Project::new(OrganizationId::from_u128(2), "shop".into(), Timestamp::EPOCH);
        assert_eq!(decode_project(&encode_project(&plain).unwrap()).unwrap(), plain);
    }

    #[test]
    fn a_record_whose_rules_cannot_be_read_is_refused_as_a_whole() {
        let golden = GOLDEN.replace('…', &"0".repeat(25));
        let damaged = golden.replace("registry.example/team/*", "a b");
        assert!(matches!(decode_project(damaged.as_bytes()), Err(StoreError::Corrupt(_))));
    }
}

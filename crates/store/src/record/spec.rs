use std::collections::{BTreeMap, BTreeSet};

use gantry_domain::spec::{Network, Pool, Priority, Resources, RetryOn, RetryPolicy, RunSpec};
use serde::{Deserialize, Serialize};

use super::is_default;

/// A [`RunSpec`] as stored; what is absent or empty takes no room.
#[derive(Serialize, Deserialize)]
pub(super) struct SpecRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    pool: Pool,
    priority: Priority,
    timeout_seconds: u32,
    retries: RetriesRecord,
    #[serde(default, skip_serializing_if = "is_default")]
    at_most_once: bool,
    resources: ResourcesRecord,
    #[serde(default, skip_serializing_if = "is_default")]
    network: Network,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    artifacts: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workdir: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RetriesRecord {
    max: u32,
    on: BTreeSet<RetryOn>,
    backoff_seconds: u32,
    max_lost: u32,
}

#[derive(Serialize, Deserialize)]
struct ResourcesRecord {
    cpu_millis: u32,
    memory_mb: u32,
    pids: u32,
}

impl From<&RunSpec> for SpecRecord {
    fn from(spec: &RunSpec) -> Self {
        let spec = spec.clone();
        Self {
            project: spec.project,
            image: spec.image,
            command: spec.command,
            folder: spec.folder,
            environment: spec.environment,
            base_url: spec.base_url,
            variables: spec.variables,
            secrets: spec.secrets,
            group: spec.group,
            labels: spec.labels,
            pool: spec.pool,
            priority: spec.priority,
            timeout_seconds: spec.timeout_seconds,
            retries: RetriesRecord {
                max: spec.retries.max,
                on: spec.retries.on,
                backoff_seconds: spec.retries.backoff_seconds,
                max_lost: spec.retries.max_lost,
            },
            at_most_once: spec.at_most_once,
            resources: ResourcesRecord {
                cpu_millis: spec.resources.cpu_millis,
                memory_mb: spec.resources.memory_mb,
                pids: spec.resources.pids,
            },
            network: spec.network,
            artifacts: spec.artifacts,
            workdir: spec.workdir,
        }
    }
}

impl From<SpecRecord> for RunSpec {
    fn from(record: SpecRecord) -> Self {
        Self {
            project: record.project,
            image: record.image,
            command: record.command,
            folder: record.folder,
            environment: record.environment,
            base_url: record.base_url,
            variables: record.variables,
            secrets: record.secrets,
            group: record.group,
            labels: record.labels,
            pool: record.pool,
            priority: record.priority,
            timeout_seconds: record.timeout_seconds,
            retries: RetryPolicy {
                max: record.retries.max,
                on: record.retries.on,
                backoff_seconds: record.retries.backoff_seconds,
                max_lost: record.retries.max_lost,
            },
            at_most_once: record.at_most_once,
            resources: Resources {
                cpu_millis: record.resources.cpu_millis,
                memory_mb: record.resources.memory_mb,
                pids: record.resources.pids,
            },
            network: record.network,
            artifacts: record.artifacts,
            workdir: record.workdir,
        }
    }
}

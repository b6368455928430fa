//! What callers send to create and change runs. Unknown fields are refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use gantry_domain::spec as domain;

/// `POST /api/v1/runs`. Everything but `image` is optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRun {
    /// Names the automation; sets `GANTRY_PROJECT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The container image. Only where commands run on the host (`process` executor) may it be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "busybox:1.36")]
    pub image: Option<String>,
    /// Program and arguments. Without it the container runs `/bin/sh /app/entrypoint.sh <folder>` from `/app`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["sh", "-c", "echo hi"]))]
    pub command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Sets `BASE_URL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Names of secrets that the container gets as variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The lane of workers to use; `default` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Bound on the command itself, in seconds; 3600 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::optional")]
    pub retries: Option<Retries>,
    /// Never start it again once its start was acknowledged, even when its worker is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most_once: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::optional")]
    pub resources: Option<Resources>,
    /// Paths and globs to collect, relative to the working directory or absolute. Usual report paths if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Vec<String>>,
    /// Host directory to run in; `process` executor only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Only 1 so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub source: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub services: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub caches: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub requires: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub needs: Option<serde_json::Value>,
}

impl CreateRun {
    /// Pointers of fields that are planned but not built.
    pub fn unsupported(&self) -> Vec<&'static str> {
        let planned = [
            ("/shards", self.shards.is_some_and(|shards| shards != 1)),
            ("/source", self.source.is_some()),
            ("/services", self.services.is_some()),
            ("/caches", self.caches.is_some()),
            ("/requires", self.requires.is_some()),
            ("/needs", self.needs.is_some()),
        ];
        planned.into_iter().filter(|(_, used)| *used).map(|(pointer, _)| pointer).collect()
    }

    /// The specification this asks for, with defaults filled in, or the field that cannot be one.
    pub fn into_spec(self) -> Result<domain::RunSpec, domain::Violation> {
        let refuse = |pointer: &str, message: String| domain::Violation { pointer: pointer.into(), message };
        let pool = match self.pool {
            None => domain::Pool::default(),
            Some(name) => name.parse().map_err(|e: domain::ParseNameError| refuse("/pool", e.to_string()))?,
        };
        let resources = match self.resources {
            None => domain::Resources::default(),
            Some(resources) => resources.into_domain(),
        };
        let defaults = domain::DEFAULT_ARTIFACTS.map(str::to_owned).to_vec();
        Ok(domain::RunSpec {
            project: self.project,
            image: self.image,
            command: self.command,
            folder: self.folder,
            environment: self.environment,
            base_url: self.base_url,
            variables: self.variables,
            secrets: self.secrets,
            group: self.group,
            labels: self.labels,
            pool,
            priority: self.priority.map(Into::into).unwrap_or_default(),
            timeout_seconds: self.timeout_seconds.unwrap_or(3600),
            retries: self.retries.map(Retries::into_domain).unwrap_or_default(),
            at_most_once: self.at_most_once.unwrap_or(false),
            resources,
            network: domain::Network::default(),
            artifacts: self.artifacts.unwrap_or(defaults),
            workdir: self.workdir,
        })
    }
}

/// Order inside an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Low,
    Normal,
    High,
    Critical,
}

impl From<Priority> for domain::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Low => Self::Low,
            Priority::Normal => Self::Normal,
            Priority::High => Self::High,
            Priority::Critical => Self::Critical,
        }
    }
}

impl From<domain::Priority> for Priority {
    fn from(priority: domain::Priority) -> Self {
        match priority {
            domain::Priority::Low => Self::Low,
            domain::Priority::Normal => Self::Normal,
            domain::Priority::High => Self::High,
            domain::Priority::Critical => Self::Critical,
        }
    }
}

/// What is tried again, and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// Retries for the outcomes in `on`; 0 to 10, 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// `failed` and `timed_out` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<BTreeSet<RetryOn>>,
    /// Pause before the first retry, doubling with each; 10 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_seconds: Option<u32>,
    /// Retries for lost workers and failing engines; 2 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lost: Option<u32>,
}

impl Retries {
    fn into_domain(self) -> domain::RetryPolicy {
        let default = domain::RetryPolicy::default();
        domain::RetryPolicy {
            max: self.max.unwrap_or(default.max),
            on: self.on.map_or(default.on, |on| on.into_iter().map(Into::into).collect()),
            backoff_seconds: self.backoff_seconds.unwrap_or(default.backoff_seconds),
            max_lost: self.max_lost.unwrap_or(default.max_lost),
        }
    }

    pub fn of(policy: &domain::RetryPolicy) -> Self {
        Self {
            max: Some(policy.max),
            on: Some(policy.on.iter().map(|&on| on.into()).collect()),
            backoff_seconds: Some(policy.backoff_seconds),
            max_lost: Some(policy.max_lost),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    Failed,
    Unstable,
    TimedOut,
    Error,
}

impl From<RetryOn> for domain::RetryOn {
    fn from(on: RetryOn) -> Self {
        match on {
            RetryOn::Failed => Self::Failed,
            RetryOn::Unstable => Self::Unstable,
            RetryOn::TimedOut => Self::TimedOut,
            RetryOn::Error => Self::Error,
        }
    }
}

impl From<domain::RetryOn> for RetryOn {
    fn from(on: domain::RetryOn) -> Self {
        match on {
            domain::RetryOn::Failed => Self::Failed,
            domain::RetryOn::Unstable => Self::Unstable,
            domain::RetryOn::TimedOut => Self::TimedOut,
            domain::RetryOn::Error => Self::Error,
        }
    }
}

/// What the run may use of its worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Cores, such as 0.5; 2 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Memory and swap together, in MiB; 2048 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// Processes and threads; 512 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

impl Resources {
    fn into_domain(self) -> domain::Resources {
        let default = domain::Resources::default();
        // Saturates for absurd numbers, which validation then refuses.
        let millis = |cpus: f64| (cpus * 1000.0).round() as u32;
        domain::Resources {
            cpu_millis: self.cpus.map_or(default.cpu_millis, millis),
            memory_mb: self.memory_mb.unwrap_or(default.memory_mb),
            pids: self.pids.unwrap_or(default.pids),
        }
    }

    pub fn of(resources: &domain::Resources) -> Self {
        Self {
            cpus: Some(f64::from(resources.cpu_millis) / 1000.0),
            memory_mb: Some(resources.memory_mb),
            pids: Some(resources.pids),
        }
    }
}

/// `POST /api/v1/runs/bulk`: one action on up to 100 runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    pub action: BulkAction,
    /// 1 to 100 run ids.
    pub ids: Vec<String>,
    /// The new group, for `regroup`; `null` takes the runs out of theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    Cancel,
    Delete,
    Regroup,
}

/// What came of a bulk action, run by run, in the order asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkResponse {
    pub results: Vec<BulkResult>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkResult {
    pub id: String,
    pub ok: bool,
    /// Why not, when it was not done.
    pub code: Option<crate::problem::ProblemCode>,
    pub detail: Option<String>,
}

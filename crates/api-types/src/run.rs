//! A run as the API shows it. What is not known yet is `null`, never absent.

use std::collections::BTreeMap;

use gantry_domain::attempt as domain_attempt;
use gantry_domain::results as domain_results;
use gantry_domain::run as domain;
use gantry_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::project::Network;
use crate::request::{Priority, Resources, Retries};

macro_rules! mirror {
    ($(#[$doc:meta])* $name:ident = $domain:path { $($variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($variant),* }

        impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                match value { $(<$domain>::$variant => Self::$variant),* }
            }
        }

        impl From<$name> for $domain {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => <$domain>::$variant),* }
            }
        }
    };
}

mirror! {
    /// Where a run stands.
    Status = domain::RunStatus {
        Pending, Queued, Running, Analyzing, Passed, Failed, Unstable, Error, Cancelled, TimedOut,
    }
}

mirror! {
    /// Why a run ended as it did.
    ReasonCode = gantry_domain::reason::ReasonCode {
        Completed, TestsFailed, PassedAfterRetry, ExitCode, OutOfMemory, Killed, Timeout, QueueTimeout, Cancelled,
        BadCommand, ImageNotFound, ImageDenied, RegistryUnreachable, SecretMissing, Infrastructure, Lost,
    }
}

mirror! {
    /// What created a run.
    TriggerKind = domain::TriggerKind { Api, Rerun }
}

mirror! {
    TestStatus = domain_results::TestStatus { Passed, Failed, Skipped, Flaky }
}

impl Status {
    pub fn as_str(self) -> &'static str {
        domain::RunStatus::from(self).as_str()
    }

    pub fn is_final(self) -> bool {
        domain::RunStatus::from(self).is_final()
    }
}

impl TestStatus {
    pub fn as_str(self) -> &'static str {
        domain_results::TestStatus::from(self).as_str()
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    #[schema(example = "run_01K0000000000000000000000A")]
    pub id: String,
    /// Counts up inside the organization.
    pub number: u64,
    pub status: Status,
    /// `null` until the run is over.
    pub reason: Option<Reason>,
    pub project: Option<String>,
    pub image: Option<String>,
    pub command: Option<Vec<String>>,
    pub folder: Option<String>,
    pub environment: Option<String>,
    pub group: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub pool: String,
    pub priority: Priority,
    pub trigger: Trigger,
    /// Tries so far; 0 before the first worker takes it.
    pub attempt: u32,
    pub max_attempts: u32,
    pub exit_code: Option<i64>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub queued_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Of the present or deciding attempt, so far.
    pub duration_ms: Option<u64>,
    /// Who executes or executed the last attempt.
    pub worker: Option<String>,
    pub tests: TestCounts,
    pub artifacts: ArtifactCounts,
    /// Length of the last attempt's log so far; `null` before the first attempt.
    pub log_bytes: Option<u64>,
    /// Why it waits; `null` when it does not.
    pub waiting: Option<Waiting>,
    pub warnings: Vec<Warning>,
    /// Somebody asked for its end, and it is still going on.
    pub cancelling: bool,
    pub links: Links,
    pub spec: Spec,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    pub code: ReasonCode,
    pub message: String,
    /// What to do next.
    pub hint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trigger {
    pub kind: TriggerKind,
    /// The key or user that did it, or `system`.
    pub actor: String,
    pub rerun_of: Option<String>,
    /// Always `null` for now: runs from CI come later.
    #[schema(value_type = Option<Object>)]
    pub ci: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestCounts {
    pub total: u32,
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
    pub flaky: u32,
}

impl From<domain_results::TestSummary> for TestCounts {
    fn from(s: domain_results::TestSummary) -> Self {
        Self { total: s.total, passed: s.passed, failed: s.failed, skipped: s.skipped, flaky: s.flaky }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactCounts {
    pub count: u32,
    pub bytes: u64,
}

/// What a waiting run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    #[serde(rename = "for")]
    pub what: WaitingFor,
    /// When it is due, for `due`.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// The concurrency limit, for `limit`.
    pub limit: Option<String>,
    /// Runs of the same organization and pool that go first, about; in the detail only.
    pub ahead: Option<u64>,
    /// A guess from recent runs; in the detail only.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub estimated_start_at: Option<Timestamp>,
    /// A sentence for people.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    Workers,
    Due,
    Limit,
    Paused,
}

/// Something worth knowing that did not decide the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    pub code: String,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Links {
    #[serde(rename = "self")]
    pub own: String,
    pub web: String,
}

/// The rest of what was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Spec {
    pub base_url: Option<String>,
    pub variables: BTreeMap<String, String>,
    /// Names only.
    pub secrets: Vec<String>,
    pub timeout_seconds: u32,
    pub retries: Retries,
    pub at_most_once: bool,
    pub resources: Resources,
    /// As its project says.
    #[serde(default)]
    pub network: Network,
    pub artifacts: Vec<String>,
    pub workdir: Option<String>,
}

impl Run {
    /// A run as of `now`. `log_bytes` of an attempt that is still going on, `ahead` and the estimate are the caller's to add.
    pub fn of(run: &domain::Run, now: Timestamp) -> Self {
        let attempt = run.last_attempt();
        let outcome = attempt.and_then(|attempt| attempt.outcome.as_ref());
        let warnings = run.warnings.iter().chain(attempt.into_iter().flat_map(|attempt| &attempt.warnings));
        Self {
            id: run.id.to_string(),
            number: run.number,
            status: run.status().into(),
            reason: run.reason().map(Reason::of),
            project: run.spec.project.clone(),
            image: run.spec.image.clone(),
            command: run.spec.command.clone(),
            folder: run.spec.folder.clone(),
            environment: run.spec.environment.clone(),
            group: run.spec.group.clone(),
            labels: run.spec.labels.clone(),
            pool: run.spec.pool.to_string(),
            priority: run.spec.priority.into(),
            trigger: Trigger {
                kind: run.trigger.kind.into(),
                actor: run.trigger.actor.to_string(),
                rerun_of: run.trigger.rerun_of.map(|id| id.to_string()),
                ci: None,
            },
            attempt: run.attempt(),
            max_attempts: run.spec.max_attempts(),
            exit_code: outcome.and_then(|outcome| outcome.exit_code),
            created_at: run.created_at,
            queued_at: run.queued_at,
            started_at: attempt.and_then(|attempt| attempt.started_at),
            finished_at: run.finished_at,
            duration_ms: run.duration(now).map(|duration| duration.as_millis() as u64),
            worker: attempt.map(|attempt| attempt.worker.to_string()),
            tests: attempt.map(|attempt| attempt.tests.into()).unwrap_or_default(),
            artifacts: attempt.map(|attempt| ArtifactCounts::of(attempt.artifacts)).unwrap_or_default(),
            log_bytes: attempt.map(|attempt| attempt.log.end.unwrap_or(0)),
            waiting: Waiting::of(run),
            warnings: warnings.map(Warning::of).collect(),
            cancelling: run.cancel.is_some() && !run.is_final(),
            links: Links { own: format!("/api/v1/runs/{}", run.id), web: format!("/runs/{}", run.id) },
            spec: Spec {
                base_url: run.spec.base_url.clone(),
                variables: run.spec.variables.clone(),
                secrets: run.spec.secrets.clone(),
                timeout_seconds: run.spec.timeout_seconds,
                retries: Retries::of(&run.spec.retries),
                at_most_once: run.spec.at_most_once,
                resources: Resources::of(&run.spec.resources),
                network: run.spec.network.into(),
                artifacts: run.spec.artifacts.clone(),
                workdir: run.spec.workdir.clone(),
            },
        }
    }
}

impl Reason {
    fn of(reason: &gantry_domain::reason::Reason) -> Self {
        Self { code: reason.code.into(), message: reason.message.clone(), hint: reason.hint().to_owned() }
    }
}

impl ArtifactCounts {
    fn of(summary: domain_attempt::ArtifactSummary) -> Self {
        Self { count: summary.count, bytes: summary.bytes }
    }
}

impl Warning {
    fn of(warning: &domain_attempt::Warning) -> Self {
        Self { code: warning.code.clone(), message: warning.message.clone() }
    }
}

impl Waiting {
    fn of(run: &domain::Run) -> Option<Self> {
        let plain = |what, message: String| {
            Some(Self { what, until: None, limit: None, ahead: None, estimated_start_at: None, message })
        };
        match &run.state {
            domain::RunState::Queued { .. } => {
                plain(WaitingFor::Workers, "Handed to the queue; the next free worker takes it.".into())
            }
            domain::RunState::Pending { hold } => match hold {
                domain::Hold::Workers => {
                    plain(WaitingFor::Workers, format!("Waiting for a free slot in pool {}.", run.spec.pool))
                }
                domain::Hold::Due { at } => plain(WaitingFor::Due, format!("Tried again at {at}."))
                    .map(|waiting| Self { until: Some(*at), ..waiting }),
                domain::Hold::Limit { key } => {
                    let name = key.split_once(':').map_or(key.as_str(), |(_, rest)| rest);
                    plain(
                        WaitingFor::Limit,
                        format!("Waiting for another run under the concurrency limit {name}."),
                    )
                    .map(|waiting| Self { limit: Some(name.to_owned()), ..waiting })
                }
                domain::Hold::Paused => plain(WaitingFor::Paused, "Dispatching is paused.".into()),
            },
            _ => None,
        }
    }
}

/// One try of a run on a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    pub number: u32,
    pub worker: String,
    /// `null` while it is going on.
    pub status: Option<Status>,
    pub reason: Option<Reason>,
    pub exit_code: Option<i64>,
    #[schema(value_type = String, format = DateTime)]
    pub claimed_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Getting the image and the sandbox ready, as the worker measured it.
    pub prepare_ms: Option<u64>,
    pub execute_ms: Option<u64>,
    pub collect_ms: Option<u64>,
    pub log_bytes: Option<u64>,
    pub tests: TestCounts,
    pub artifacts: ArtifactCounts,
    pub warnings: Vec<Warning>,
}

impl Attempt {
    pub fn of(attempt: &domain_attempt::Attempt) -> Self {
        let outcome = attempt.outcome.as_ref();
        Self {
            number: attempt.number,
            worker: attempt.worker.to_string(),
            status: outcome.map(|o| domain::RunStatus::from(o.verdict).into()),
            reason: outcome.map(|o| Reason::of(&o.reason)),
            exit_code: outcome.and_then(|o| o.exit_code),
            claimed_at: attempt.claimed_at,
            started_at: attempt.started_at,
            finished_at: attempt.finished_at,
            prepare_ms: attempt.timings.prepare_ms,
            execute_ms: attempt.timings.execute_ms,
            collect_ms: attempt.timings.collect_ms,
            log_bytes: attempt.log.end,
            tests: attempt.tests.into(),
            artifacts: ArtifactCounts::of(attempt.artifacts),
            warnings: attempt.warnings.iter().map(Warning::of).collect(),
        }
    }
}

/// All attempts of a run, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempts {
    pub items: Vec<Attempt>,
}

/// Runs that carry the same `group`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    pub name: String,
    pub runs: u64,
    /// How many stand where, only those that there are.
    pub by_status: BTreeMap<String, u64>,
    #[schema(value_type = String, format = DateTime)]
    pub last_created_at: Timestamp,
}

/// One test's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestResult {
    pub file: Option<String>,
    pub suite: String,
    pub name: String,
    pub status: TestStatus,
    pub duration_ms: u64,
    pub message: Option<String>,
    /// How often the tool itself tried again.
    pub retries: u32,
}

impl From<domain_results::TestResult> for TestResult {
    fn from(r: domain_results::TestResult) -> Self {
        Self {
            file: r.file,
            suite: r.suite,
            name: r.name,
            status: r.status.into(),
            duration_ms: r.duration_ms,
            message: r.message,
            retries: r.retries,
        }
    }
}

/// A collected file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// Its name: data, never markup.
    pub path: String,
    pub bytes: u64,
    pub content_type: String,
    /// A report that a person opens.
    pub report: bool,
}

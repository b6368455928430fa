//! The worker protocol (`/worker/v1`), spoken between a worker and a producer with a worker token.
//!
//! Every call about an attempt carries its lease token in [`LEASE_HEADER`]; `409 stale_attempt` means: stop, clean up,
//! forget. Every call may be repeated.

use std::collections::BTreeMap;

use gantry_domain::attempt::Observation as DomainObservation;
use gantry_domain::id::{ClaimId, DispatchId, InstallationId, OrganizationId, RunId, WorkerId};
use gantry_domain::run::LeaseToken;
use gantry_domain::spec::{Network, Pool, Resources};
use gantry_domain::worker::ExecutorKind;
use serde::{Deserialize, Serialize};

use crate::run::Status;

/// Carries the lease token.
pub const LEASE_HEADER: &str = "gantry-lease";

/// Carries [`PROTOCOL`] of the worker on every call; absent means 1.
pub const PROTOCOL_HEADER: &str = "gantry-worker-protocol";

/// The version of this protocol. Fields that a peer may ignore, and new calls that it may miss, leave it as it is: both
/// sides ignore what they do not know. It grows when one side has to understand the other anew.
pub const PROTOCOL: u32 = 1;

/// The oldest version that a producer still serves: during a rolling upgrade workers are older than producers, or newer.
pub const OLDEST_PROTOCOL: u32 = 1;

/// Answer to `GET /worker/v1/hello`: whose worker this is, before it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub installation: InstallationId,
    /// The producer's.
    pub version: String,
    pub protocol: u32,
}

/// `POST /worker/v1/register`: a worker starts, or comes back after the producer forgot it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    pub worker: WorkerId,
    pub name: String,
    pub version: String,
    pub pool: Pool,
    pub executor: ExecutorKind,
    pub slots: u32,
}

/// What a worker must know to play its part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    pub installation: InstallationId,
    pub heartbeat_ms: u64,
    /// How long a lease lasts after the producer received a heartbeat.
    pub lease_ms: u64,
    /// A worker ends its runs this long after it sent the last heartbeat that was answered.
    pub fence_ms: u64,
}

/// `POST /worker/v1/heartbeat`: renews all leases of the worker at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub worker: WorkerId,
    pub busy: u32,
    pub disk_free_bytes: Option<u64>,
    pub disk_total_bytes: Option<u64>,
    /// Why it takes no runs at the moment.
    pub paused: Option<String>,
    pub leases: Vec<HeldLease>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldLease {
    pub run: RunId,
    pub attempt: u32,
    pub token: LeaseToken,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// Finish what you have and take no more.
    pub draining: bool,
    /// The producer does not know this worker: register again.
    pub unknown: bool,
    /// In the order asked.
    pub leases: Vec<LeaseSignal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseSignal {
    Renewed,
    /// Renewed; and somebody wants the run to end.
    Cancel,
    /// Over: stop, clean up, forget.
    Lost,
}

/// `POST /worker/v1/runs/{run}/claim`. The same `claim` again gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub worker: WorkerId,
    pub dispatch: DispatchId,
    pub claim: ClaimId,
    /// Whether the worker keeps a run without network from having one: older ones do not know that there are such runs.
    #[serde(default)]
    pub keeps_network: bool,
}

/// Everything needed to carry out the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub run: RunId,
    pub organization: OrganizationId,
    pub attempt: u32,
    pub lease: LeaseToken,
    pub image: Option<String>,
    pub command: Option<Vec<String>>,
    pub folder: Option<String>,
    pub workdir: Option<String>,
    /// The whole environment, secrets included.
    pub environment: BTreeMap<String, String>,
    /// Values to mask wherever they appear in the output.
    pub masked: Vec<String>,
    pub resources: Resources,
    /// For pulling the image, and for nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryAuth>,
    /// An older producer does not say, and knows only the one.
    #[serde(default)]
    pub network: Network,
    pub timeout_seconds: u32,
    /// On collecting and uploading artifacts.
    pub collect_timeout_seconds: u32,
    pub artifacts: Vec<String>,
    pub log_limit_bytes: u64,
    /// The command may only start once its start was answered. An older producer does not say, and expects that.
    #[serde(default = "yes")]
    pub start_first: bool,
}

/// What a registry asks for. Does not print itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryAuth {
    /// As references name it, such as `registry.example:5000` or `docker.io`.
    pub registry: String,
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryAuth").field("registry", &self.registry).finish_non_exhaustive()
    }
}

fn yes() -> bool {
    true
}

/// `POST /worker/v1/runs/{run}/state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReport {
    pub state: ReportedState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedState {
    /// The command starts, or just did. With [`Grant::start_first`] it may only start once this was answered.
    Starting,
    /// The command is over, collecting begins.
    Analyzing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateAnswer {
    pub cancel: bool,
}

/// Answer to `POST /worker/v1/runs/{run}/logs`, whose body is a framed batch ([`crate::log`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogAnswer {
    /// Where the log ends now.
    pub end: u64,
}

/// Answer to `PUT /worker/v1/runs/{run}/artifacts`, whose body is one tar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactsAnswer {
    pub count: u32,
    pub bytes: u64,
    pub tests: u32,
    /// Why artifacts or reports are not there, for the log.
    pub problems: Vec<String>,
}

/// `POST /worker/v1/runs/{run}/finish`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    pub observed: Observation,
    pub log_end: u64,
    /// No batch of a log was ever sent, so there is none.
    #[serde(default)]
    pub no_log: bool,
    pub log_truncated: bool,
    pub prepare_ms: Option<u64>,
    pub execute_ms: Option<u64>,
    pub collect_ms: Option<u64>,
    /// Pairs of code and message.
    pub warnings: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Where the run stands now; `pending` when it is tried again.
    pub status: Status,
}

/// What the worker saw of the attempt's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Observation {
    Exited { code: i64, oom_killed: bool },
    TimedOut { limit_seconds: u64 },
    Cancelled,
    BadCommand { detail: String },
    ImageNotFound { detail: String },
    ImageDenied { detail: String },
    RegistryUnreachable { detail: String },
    Infrastructure { detail: String },
    HandedBack,
}

impl From<Observation> for DomainObservation {
    fn from(observation: Observation) -> Self {
        match observation {
            Observation::Exited { code, oom_killed } => Self::Exited { code, oom_killed },
            Observation::TimedOut { limit_seconds } => Self::TimedOut { limit_seconds },
            Observation::Cancelled => Self::Cancelled,
            Observation::BadCommand { detail } => Self::BadCommand { detail },
            Observation::ImageNotFound { detail } => Self::ImageNotFound { detail },
            Observation::ImageDenied { detail } => Self::ImageDenied { detail },
            Observation::RegistryUnreachable { detail } => Self::RegistryUnreachable { detail },
            Observation::Infrastructure { detail } => Self::Infrastructure { detail },
            Observation::HandedBack => Self::HandedBack,
        }
    }
}

/// `POST /worker/v1/attempts/over`: which of these attempts have nothing left to do? Their containers can go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverQuestion {
    pub worker: WorkerId,
    pub attempts: Vec<AttemptRef>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttemptRef {
    pub run: RunId,
    pub attempt: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverAnswer {
    pub over: Vec<AttemptRef>,
}

/// `POST /worker/v1/leave`: the worker is gone for good, and holds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    pub worker: WorkerId,
}

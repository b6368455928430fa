//! The system about itself.

use gantry_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /health` and `/health/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Whether requests are to be sent here.
    pub ready: bool,
    #[serde(default)]
    pub status: HealthStatus,
    pub version: String,
    pub dependencies: Vec<Dependency>,
}

/// How well it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    #[default]
    Ok,
    /// Requests are served; a part is down without which something waits or comes later.
    Degraded,
    /// A part is down without which nothing can be served.
    Down,
    /// This process is about to end.
    Retiring,
}

/// A part that this one needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dependency {
    pub name: String,
    pub up: bool,
    /// Whether nothing can be served without it.
    #[serde(default)]
    pub required: bool,
    /// What is wrong, when it is down.
    pub detail: Option<String>,
}

/// `GET /api/v1/system/queue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueDepths {
    pub pools: Vec<QueueDepth>,
    #[serde(default)]
    pub broker: Broker,
}

/// What carries runs to workers, as the answering replica sees it. While it is down, runs are accepted and stay pending.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Broker {
    pub status: BrokerStatus,
    /// Since when it is down.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// What is wrong, when it is down.
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BrokerStatus {
    #[default]
    Up,
    Down,
}

/// What waits and runs in a pool, for people and autoscalers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueDepth {
    pub pool: String,
    pub pending: u64,
    pub queued: u64,
    pub running: u64,
    /// pending + queued + running: what to scale on.
    pub backlog: u64,
    /// Slots of the workers that are online.
    pub slots: u64,
}

/// `GET /api/v1/system/reconcilers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reconcilers {
    pub items: Vec<Reconciler>,
}

/// A periodic task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reconciler {
    pub name: String,
    pub period_ms: u64,
    pub runs: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_started_at: Option<Timestamp>,
    pub last_duration_ms: Option<u64>,
    /// What the last run did or why it failed.
    pub last_outcome: Option<String>,
    pub consecutive_failures: u32,
}

/// `GET /api/v1/system/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    pub version: String,
    /// How runs are carried out here: `docker`, `process` or `fake`; `null` where workers decide.
    pub executor: Option<String>,
}

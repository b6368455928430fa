//! The fleet: processes that execute runs, and what they say of themselves.

use serde::{Deserialize, Serialize};

use crate::id::WorkerId;
use crate::spec::Pool;
use crate::time::Timestamp;

/// How attempts are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutorKind {
    Docker,
    /// On the host itself; embedded mode only.
    Process,
    /// Scripted; tests and benchmarks only.
    Fake,
}

impl ExecutorKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Process => "process",
            Self::Fake => "fake",
        }
    }
}

/// A worker as the fleet list shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    pub id: WorkerId,
    pub name: String,
    pub version: String,
    pub pool: Pool,
    pub executor: ExecutorKind,
    pub slots: u32,
    pub busy: u32,
    pub disk_free_bytes: Option<u64>,
    pub disk_total_bytes: Option<u64>,
    pub draining: bool,
    /// Why it takes no runs at the moment, if it takes none.
    pub paused: Option<String>,
    pub registered_at: Timestamp,
    pub last_seen_at: Timestamp,
}

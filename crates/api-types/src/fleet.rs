//! The fleet as users see it.

use gantry_domain::time::Timestamp;
use gantry_domain::worker as domain;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    pub id: String,
    pub name: String,
    pub version: String,
    pub pool: String,
    /// `docker`, `process` or `fake`.
    pub executor: String,
    pub status: WorkerStatus,
    /// Runs it executes at once.
    pub slots: u32,
    pub busy: u32,
    pub disk_free_bytes: Option<u64>,
    pub disk_total_bytes: Option<u64>,
    /// Why it takes no runs at the moment.
    pub paused: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub registered_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub last_seen_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerStatus {
    Online,
    /// Finishes what it has and takes no more.
    Draining,
    /// Takes no runs for the reason in `paused`.
    Paused,
    /// Not heard of for longer than a lease.
    Offline,
}

impl Worker {
    /// A worker as of `now`; silent for longer than `lease` means offline.
    pub fn of(worker: &domain::Worker, now: Timestamp, lease: std::time::Duration) -> Self {
        let status = if now.since(worker.last_seen_at) > lease {
            WorkerStatus::Offline
        } else if worker.draining {
            WorkerStatus::Draining
        } else if worker.paused.is_some() {
            WorkerStatus::Paused
        } else {
            WorkerStatus::Online
        };
        Self {
            id: worker.id.to_string(),
            name: worker.name.clone(),
            version: worker.version.clone(),
            pool: worker.pool.to_string(),
            executor: worker.executor.as_str().to_owned(),
            status,
            slots: worker.slots,
            busy: worker.busy,
            disk_free_bytes: worker.disk_free_bytes,
            disk_total_bytes: worker.disk_total_bytes,
            paused: worker.paused.clone(),
            registered_at: worker.registered_at,
            last_seen_at: worker.last_seen_at,
        }
    }
}

/// All workers, most recently registered first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Workers {
    pub items: Vec<Worker>,
}

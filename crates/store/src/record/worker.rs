use gantry_domain::id::WorkerId;
use gantry_domain::spec::Pool;
use gantry_domain::worker::{ExecutorKind, Worker};
use serde::{Deserialize, Serialize};

use super::{Millis, Record, VERSION, read, write};
use crate::Result;

#[derive(Serialize, Deserialize)]
struct WorkerRecord {
    v: u32,
    id: WorkerId,
    name: String,
    version: String,
    pool: Pool,
    executor: ExecutorKind,
    slots: u32,
    busy: u32,
    #[serde(default)]
    disk_free_bytes: Option<u64>,
    #[serde(default)]
    disk_total_bytes: Option<u64>,
    draining: bool,
    #[serde(default)]
    paused: Option<String>,
    registered_at: Millis,
    last_seen_at: Millis,
}

impl Record for WorkerRecord {
    const KIND: &'static str = "worker";
    fn version(&self) -> u32 {
        self.v
    }
}

pub(crate) fn encode_worker(worker: &Worker) -> Result<Vec<u8>> {
    write(&WorkerRecord {
        v: VERSION,
        id: worker.id,
        name: worker.name.clone(),
        version: worker.version.clone(),
        pool: worker.pool.clone(),
        executor: worker.executor,
        slots: worker.slots,
        busy: worker.busy,
        disk_free_bytes: worker.disk_free_bytes,
        disk_total_bytes: worker.disk_total_bytes,
        draining: worker.draining,
        paused: worker.paused.clone(),
        registered_at: worker.registered_at.into(),
        last_seen_at: worker.last_seen_at.into(),
    })
}

pub(crate) fn decode_worker(document: &[u8]) -> Result<Worker> {
    let record: WorkerRecord = read(document)?;
    Ok(Worker {
        id: record.id,
        name: record.name,
        version: record.version,
        pool: record.pool,
        executor: record.executor,
        slots: record.slots,
        busy: record.busy,
        disk_free_bytes: record.disk_free_bytes,
        disk_total_bytes: record.disk_total_bytes,
        draining: record.draining,
        paused: record.paused,
        registered_at: record.registered_at.into(),
        last_seen_at: record.last_seen_at.into(),
    })
}

use async_trait::async_trait;
use gantry_domain::id::WorkerId;
use gantry_domain::time::Timestamp;
use gantry_domain::worker::Worker;

use crate::Result;

/// The fleet.
#[async_trait]
pub trait WorkerStore: Send + Sync {
    /// Stores what a worker says of itself; keeps `draining` and `registered_at` of one that is known.
    async fn put(&self, worker: &Worker) -> Result<Worker>;

    async fn get(&self, id: WorkerId) -> Result<Option<Worker>>;

    /// All workers, most recently registered first.
    async fn list(&self) -> Result<Vec<Worker>>;

    /// Asks a worker to take no more runs, or to take runs again; false when it is not known.
    async fn set_draining(&self, id: WorkerId, draining: bool) -> Result<bool>;

    /// Forgets a worker that went, and those not seen since `before`; answers how many.
    async fn forget(&self, id: Option<WorkerId>, before: Timestamp) -> Result<u64>;
}

//! What all parts of a running worker share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gantry_domain::time::Clock;
use gantry_executor::Executor;
use gantry_queue::Queue;
use gantry_service_kit::shutdown::TaskGroup;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::config::WorkerConfig;
use crate::contact::Contact;
use crate::disk::DiskState;
use crate::engine::Engine;
use crate::lease::Leases;
use crate::producer::Producer;

pub(crate) struct Shared {
    pub config: WorkerConfig,
    pub contact: Arc<Contact>,
    pub producer: Arc<dyn Producer>,
    pub queue: Arc<dyn Queue>,
    pub executor: Arc<dyn Executor>,
    pub clock: Arc<dyn Clock>,
    pub leases: Arc<Leases>,
    pub slots: Slots,
    pub stages: DrainStages,
    /// The producer wants no more runs taken by this worker.
    pub draining: watch::Sender<bool>,
    pub disk: watch::Receiver<DiskState>,
    pub engine: Engine,
    /// Claims and attempts.
    pub attempts: TaskGroup,
    /// Owns what must still be removed when its attempt is gone.
    pub cleanup: TaskGroup,
}

/// How far a shutdown is; each stage implies those before it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DrainStages {
    /// No more runs are taken; what has not started is handed back.
    pub begun: CancellationToken,
    /// What still runs is stopped and handed back.
    pub grace_over: CancellationToken,
}

/// The worker's slots by number; slots own networks.
#[derive(Debug)]
pub(crate) struct Slots {
    permits: Arc<Semaphore>,
    free: Arc<Mutex<Vec<u32>>>,
    busy: Arc<AtomicU32>,
    total: u32,
}

/// One slot in use; free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    pub number: u32,
    free: Arc<Mutex<Vec<u32>>>,
    busy: Arc<AtomicU32>,
    occupied: bool,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub fn new(total: u32) -> Self {
        let permits = Arc::new(Semaphore::new(total as usize));
        let free = Arc::new(Mutex::new((0..total).rev().collect()));
        Self { permits, free, busy: Arc::default(), total }
    }

    pub fn total(&self) -> u32 {
        self.total
    }

    /// Waits for one.
    pub async fn take(&self) -> Option<Slot> {
        self.slot(Arc::clone(&self.permits).acquire_owned().await.ok()?)
    }

    /// One that is free now.
    pub fn try_take(&self) -> Option<Slot> {
        self.slot(Arc::clone(&self.permits).try_acquire_owned().ok()?)
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Option<Slot> {
        // There is a number for every permit: it is given back before the permit.
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let (free, busy) = (Arc::clone(&self.free), Arc::clone(&self.busy));
        Some(Slot { number, free, busy, occupied: false, _permit: permit })
    }

    /// Slots with a run, or with a message about one.
    pub fn busy(&self) -> u32 {
        self.busy.load(Ordering::Relaxed)
    }
}

impl Slot {
    /// From now on it counts as busy; before, it only waits for a message.
    pub fn occupy(mut self) -> Self {
        if !std::mem::replace(&mut self.occupied, true) {
            self.busy.fetch_add(1, Ordering::Relaxed);
        }
        self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.occupied {
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}

//! How a worker lives and ends.

use std::sync::Arc;
use std::time::Duration;

use gantry_domain::time::Clock;
use gantry_executor::Executor;
use gantry_queue::{Measured, Queue};
use gantry_service_kit::shutdown::{Drained, Shutdown, TaskGroup};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::WorkerConfig;
use crate::consumer::consume;
use crate::contact::Contact;
use crate::disk::{DiskState, measure, watch_disk};
use crate::engine::{Engine, first_look, watch_engine};
use crate::heartbeat::{beat, listen, register};
use crate::lease::Leases;
use crate::leftovers::remove_leftovers;
use crate::metrics;
use crate::producer::{Producer, within};
use crate::shared::{DrainStages, Shared, Slots};

/// What a worker works with.
pub struct WorkerParts {
    pub producer: Arc<dyn Producer>,
    pub queue: Arc<dyn Queue>,
    pub executor: Arc<dyn Executor>,
    pub clock: Arc<dyn Clock>,
}

/// A worker that has not begun.
pub struct Worker {
    parts: WorkerParts,
    config: WorkerConfig,
    contact: Arc<Contact>,
}

impl Worker {
    pub fn new(parts: WorkerParts, config: WorkerConfig) -> Self {
        Self { parts, config, contact: Arc::default() }
    }

    /// What is known of the producer, while this runs.
    pub fn contact(&self) -> Arc<Contact> {
        Arc::clone(&self.contact)
    }

    /// Registers, then takes and carries out runs until the shutdown is triggered. Then it takes no more, gives what runs
    /// [`WorkerConfig::drain_grace`] to end, stops and hands back the rest, removes everything it made, and leaves. After the
    /// grace that takes about a minute at most. The producer must stay reachable meanwhile; the queue may be closed already.
    ///
    /// Names in the answer are runs, or removals that did not end. When the future is dropped, attempts are stopped and
    /// handed back without a grace, as far as the runtime still lives.
    pub async fn run(self, shutdown: Shutdown) -> Drained {
        let (disk, disk_seen) = watch::channel(DiskState::default());
        let shared = Arc::new(self.share(disk_seen));
        let _begun = shared.stages.begun.clone().drop_guard();
        let _grace_over = shared.stages.grace_over.clone().drop_guard();
        // Aborted when this is dropped, and not before everything is drained: leases need their heartbeats until the end.
        let mut background = JoinSet::new();
        if let Some(watch) = shared.config.disk.clone() {
            disk.send_replace(measure(&watch).await);
            background.spawn(watch_disk(Arc::clone(&shared), watch, disk));
        }
        let serve = serve(&shared, &mut background);
        match shutdown.interrupts(serve).await {
            Some(()) => tracing::error!("a part of the worker failed: it shuts down"),
            None => tracing::info!("shutting down: taking no more runs"),
        }
        drain(&shared).await
    }

    fn share(self, disk: watch::Receiver<DiskState>) -> Shared {
        metrics::describe();
        Shared {
            producer: self.parts.producer,
            queue: Measured::over(self.parts.queue),
            executor: self.parts.executor,
            clock: self.parts.clock,
            leases: Leases::new(),
            slots: Slots::new(self.config.slots),
            stages: DrainStages::default(),
            draining: watch::channel(false).0,
            disk,
            engine: Engine::new(),
            attempts: TaskGroup::new(),
            cleanup: TaskGroup::new(),
            config: self.config,
            contact: self.contact,
        }
    }
}

/// Registers and takes runs. Returns only when a part of the worker failed.
async fn serve(shared: &Arc<Shared>, background: &mut JoinSet<()>) {
    let registered = register(shared).await;
    let period = Duration::from_millis(registered.heartbeat_ms.max(1));
    let fenced = Arc::clone(&shared.leases);
    background.spawn(async move { fenced.guard_fence().await });
    background.spawn(beat(Arc::clone(shared), period));
    background.spawn(listen(Arc::clone(shared)));
    background.spawn(remove_leftovers(Arc::clone(shared)));
    Box::pin(first_look(shared)).await;
    background.spawn(watch_engine(Arc::clone(shared)));
    tokio::select! {
        () = consume(shared) => {}
        _ = background.join_next() => {}
    }
}

/// Lets what runs end, then hands back and removes the rest, and leaves. Bounded.
async fn drain(shared: &Shared) -> Drained {
    let config = &shared.config;
    shared.stages.begun.cancel();
    let bounds = &config.bounds;
    let after_grace = bounds.stop_grace + bounds.stop + bounds.destroy + bounds.farewell;
    let attempts = async {
        let drained = shared.attempts.drain(config.drain_grace + after_grace).await;
        shared.stages.grace_over.cancel();
        drained
    };
    let grace = async {
        tokio::select! {
            () = tokio::time::sleep(config.drain_grace) => shared.stages.grace_over.cancel(),
            () = shared.stages.grace_over.cancelled() => {}
        }
    };
    let (mut drained, ()) = tokio::join!(attempts, grace);
    let cleaned = shared.cleanup.drain(bounds.destroy + REMOVAL_RETRIES).await;
    drained.unfinished.extend(cleaned.unfinished);
    drained.panicked.extend(cleaned.panicked);
    if let Err(error) = within(LEAVE_BOUND, shared.producer.leave(config.id)).await {
        tracing::warn!(%error, "could not say that the worker leaves; it will be missed");
    }
    drained
}

const LEAVE_BOUND: Duration = Duration::from_secs(3);
const REMOVAL_RETRIES: Duration = Duration::from_secs(5);

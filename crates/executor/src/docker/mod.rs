//! Attempts as containers of a Docker engine.
//!
//! A container has a name that follows from its attempt and labels that say whose it is, so that nothing is ever lost
//! track of: not by a crash of the worker, not by a dropped future. The specification of a container is built in
//! [`create`] alone.
//!
//! Per run the engine gets seven calls: create, attach, start, wait, inspect, then the collection of files, then remove; and
//! beside the first one more where it has to say that it filters what runs reach.

mod attempts;
mod collect;
mod create;
mod egress;
mod engine;
mod failures;
mod images;
mod labels;
mod network;
mod options;
mod output;
mod pull;
mod pull_progress;
mod remove;
mod run;
mod subnet;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_domain::worker::ExecutorKind;
use tokio_util::task::TaskTracker;

pub use egress::FILTERED_EGRESS;
pub use images::DiskSpace;
pub use options::{DEFAULT_HOST, DockerOptions, EngineLimits, NetworkOptions, PullOptions};

use crate::{AttemptKey, AttemptSpec, Executor, ExecutorError, Exit, OutputStream, Progress, TarStream};

/// When space runs out, images that no attempt used for so long go first, and only if there are none, all others.
const PRUNE_UNUSED_FOR: Duration = Duration::from_secs(3600);

/// Carries out attempts in containers. Dropping it ends nothing: containers are removed by [`Executor::destroy`], networks
/// by [`DockerExecutor::close`], and what is missed is found by [`Executor::leftovers`].
pub struct DockerExecutor {
    options: DockerOptions,
    engine: engine::Engine,
    networks: Arc<network::Networks>,
    pulls: pull::Pulls,
    images: images::Images,
    guarded: images::Guarded,
    attempts: attempts::Attempts,
    /// Requests that must be seen through, whoever asked.
    tasks: TaskTracker,
}

impl DockerExecutor {
    /// Finds the engine and takes over what an earlier life of this worker left. Makes nothing yet, so that a worker is up
    /// at once; see [`Self::warm_up`].
    pub async fn connect(options: DockerOptions) -> Result<Self, ExecutorError> {
        let engine = engine::Engine::connect(&options.host, options.limits).await?;
        let networks = network::Networks::new(options.network, options.owner);
        networks.adopt(&engine).await?;
        Ok(Self {
            options,
            engine,
            networks,
            pulls: pull::Pulls::default(),
            images: images::Images::default(),
            guarded: images::Guarded::default(),
            attempts: attempts::Attempts::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Makes the networks of all slots. Without it the first attempt of each slot makes its own, which it waits for.
    pub async fn warm_up(&self) -> Result<(), ExecutorError> {
        for slot in 0..self.options.slots {
            self.networks.of_slot(&self.engine, slot).await?;
        }
        Ok(())
    }

    /// Any engine may have taken the place of the one that answered before.
    async fn verify_egress(&self) -> Result<(), ExecutorError> {
        if self.options.filtered_egress { egress::verify(&self.engine).await } else { Ok(()) }
    }

    /// Sees requests in flight through and removes this worker's networks. Containers that still run keep theirs.
    pub async fn close(&self) -> Result<(), ExecutorError> {
        self.tasks.close();
        let patience = self.options.limits.create;
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!("the engine still has requests of this worker");
        }
        self.networks.close(&self.engine).await
    }
}

#[async_trait]
impl Executor for DockerExecutor {
    fn kind(&self) -> ExecutorKind {
        ExecutorKind::Docker
    }

    async fn prepare(&self, attempt: &AttemptSpec, progress: &dyn Progress) -> Result<(), ExecutorError> {
        Box::pin(self.prepare_attempt(attempt, progress)).await
    }

    async fn start(&self, key: AttemptKey) -> Result<OutputStream, ExecutorError> {
        self.start_attempt(key).await
    }

    async fn wait(&self, key: AttemptKey) -> Result<Exit, ExecutorError> {
        Ok(self.wait_for_end(key).await?.exit)
    }

    async fn stop(&self, key: AttemptKey, grace: Duration) -> Result<(), ExecutorError> {
        self.stop_attempt(key, grace).await
    }

    async fn collect(&self, key: AttemptKey, paths: &[String]) -> Result<TarStream, ExecutorError> {
        self.collect_files(key, paths).await
    }

    async fn destroy(&self, key: AttemptKey) -> Result<(), ExecutorError> {
        self.remove_attempt(key).await
    }

    async fn leftovers(&self) -> Result<Vec<AttemptKey>, ExecutorError> {
        self.list_leftovers().await
    }

    async fn check(&self) -> Result<String, ExecutorError> {
        let described = self.engine.describe().await?;
        self.verify_egress().await?;
        Ok(described)
    }

    async fn prune(&self) -> Result<(), ExecutorError> {
        if self.prune_images(PRUNE_UNUSED_FOR, 0).await?.is_empty() {
            self.prune_images(Duration::ZERO, 0).await?;
        }
        Ok(())
    }
}

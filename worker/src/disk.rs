//! Free space where runs are executed: a worker that runs out of it takes no runs, and says so.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::shared::Shared;

/// Space on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    pub free: u64,
    pub total: u64,
}

/// Measures the disk that matters; `None` when it cannot be told. May block.
#[derive(Clone)]
pub struct DiskProbe(Arc<dyn Fn() -> Option<DiskSpace> + Send + Sync>);

impl fmt::Debug for DiskProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskProbe")
    }
}

impl DiskProbe {
    pub fn new(probe: impl Fn() -> Option<DiskSpace> + Send + Sync + 'static) -> Self {
        Self(Arc::new(probe))
    }

    /// Measures now.
    pub fn measure(&self) -> Option<DiskSpace> {
        (self.0)()
    }

    /// The file system that holds `path`.
    pub fn of_path(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        Self::new(move || {
            let found = rustix::fs::statvfs(&path).ok()?;
            Some(DiskSpace { free: found.f_bavail * found.f_frsize, total: found.f_blocks * found.f_frsize })
        })
    }
}

/// What to watch, and from where on to act.
#[derive(Debug, Clone)]
pub struct DiskWatch {
    pub probe: DiskProbe,
    /// Percent free below which no runs are taken.
    pub pause_below: u8,
    /// Percent free below which the engine is asked to prune what it can get again.
    pub prune_below: u8,
    pub period: Duration,
}

impl DiskWatch {
    /// The limits of the documentation: 15 % and 10 %, looked at every ten seconds.
    pub fn new(probe: DiskProbe) -> Self {
        Self { probe, pause_below: 15, prune_below: 10, period: Duration::from_secs(10) }
    }
}

/// What was measured last, and what follows from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DiskState {
    pub space: Option<DiskSpace>,
    /// Why no runs are taken.
    pub paused: Option<String>,
}

impl DiskSpace {
    fn percent_free(self) -> u64 {
        u64::try_from(u128::from(self.free) * 100 / u128::from(self.total.max(1))).unwrap_or(100)
    }
}

const PRUNE_BOUND: Duration = Duration::from_secs(5 * 60);

/// Measures until it is dropped.
pub(crate) async fn watch_disk(shared: Arc<Shared>, watch: DiskWatch, state: watch::Sender<DiskState>) {
    loop {
        let now = measure(&watch).await;
        let prune = now.space.is_some_and(|space| space.percent_free() < u64::from(watch.prune_below));
        if now.paused.is_some() != state.borrow().paused.is_some() {
            match &now.paused {
                Some(reason) => tracing::warn!(reason, "taking no runs"),
                None => tracing::info!("there is space again: taking runs"),
            }
        }
        state.send_replace(now);
        if prune {
            match tokio::time::timeout(PRUNE_BOUND, shared.executor.prune()).await {
                Ok(Ok(())) => tracing::info!("asked the engine to prune"),
                Ok(Err(error)) => tracing::warn!(%error, "the engine could not prune"),
                Err(_) => tracing::warn!("the engine did not finish pruning in time"),
            }
        }
        tokio::time::sleep(watch.period).await;
    }
}

/// Once, before the first run is taken.
pub(crate) async fn measure(watch: &DiskWatch) -> DiskState {
    let probe = watch.probe.clone();
    let space = tokio::task::spawn_blocking(move || probe.measure()).await.ok().flatten();
    let paused = space.filter(|space| space.percent_free() < u64::from(watch.pause_below)).map(|space| {
        format!(
            "the disk is nearly full: {} % of {} GB free, runs are taken from {} % on",
            space.percent_free(),
            space.total / 1_000_000_000,
            watch.pause_below
        )
    });
    DiskState { space, paused }
}

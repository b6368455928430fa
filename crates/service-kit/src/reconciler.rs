//! Drives everything periodic. A reconciler compares what is with what should be and closes the gap; it takes no input,
//! so that a lost wake costs a delay and never work. The driver owns the parts that are easy to get wrong: never two
//! passes at once, wakes that coalesce, panics and errors that don't end it, back-off, and a status that people can see.

mod driver;
mod status;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use tokio::sync::Notify;

use crate::shutdown::{Shutdown, TaskGroup};
pub use status::{Status, Statuses};

/// What a pass may fail with; its text is logged and shown to operators.
pub type ReconcileError = Box<dyn Error + Send + Sync>;

/// One periodic duty. A pass is idempotent, safe to run on every replica at once, and safe to drop at any await.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// Shown in metrics and status: lower-case words joined by hyphens.
    fn name(&self) -> &'static str;

    /// The longest time between two passes when nothing wakes it.
    fn period(&self) -> Duration;

    /// A pass that takes longer is dropped and counts as failed.
    fn pass_timeout(&self) -> Duration {
        Duration::from_secs(300)
    }

    /// One pass. Never called while another pass of the same reconciler runs.
    async fn reconcile(&self) -> Result<Outcome, ReconcileError>;
}

/// What a pass achieved, and when the next one is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many things it changed.
    pub did: u64,
    /// There is more to do: run again at once (after a breath when this pass did nothing, so that it can't spin).
    pub again: bool,
    /// The next thing is due after this long, if that is before the period.
    pub next_due: Option<Duration>,
}

impl Outcome {
    /// Nothing was to be done.
    pub fn idle() -> Self {
        Self::default()
    }

    pub fn did(count: u64) -> Self {
        Self { did: count, ..Self::default() }
    }

    #[must_use]
    pub fn again_if(self, again: bool) -> Self {
        Self { again, ..self }
    }

    #[must_use]
    pub fn due_in(self, next_due: Option<Duration>) -> Self {
        Self { next_due, ..self }
    }
}

/// Asks for a pass soon. Clones wake the same reconciler; any number of wakes before a pass starts is one pass, and a
/// wake during a pass is one more pass after it.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Takes back the wakes that the pass about to start answers.
    pub(crate) fn answered(&self) {
        let _ = self.woken().now_or_never();
    }

    /// Resolves at the next wake, at once if one is stored.
    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}

/// The reconcilers of one process, and what is known of them.
#[derive(Default)]
pub struct Reconcilers {
    members: Vec<(Arc<dyn Reconciler>, Wake)>,
    statuses: Statuses,
}

impl Reconcilers {
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers `reconciler`, woken by `wake` and by its period.
    pub fn add(&mut self, reconciler: Arc<dyn Reconciler>, wake: Wake) {
        self.statuses.register(reconciler.as_ref());
        self.members.push((reconciler, wake));
    }

    /// A live view of all of them, for `/system/reconcilers`.
    pub fn statuses(&self) -> Statuses {
        self.statuses.clone()
    }

    /// Starts one task each; a pass that runs when the shutdown comes is allowed to finish (the group's drain bounds it).
    pub fn spawn(self, group: &TaskGroup, shutdown: &Shutdown) {
        for (reconciler, wake) in self.members {
            let name = format!("reconciler {}", reconciler.name());
            group.spawn(name, driver::drive(reconciler, wake, self.statuses.clone(), shutdown.clone()));
        }
    }

    /// Runs all of them until the shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        let drives = self.members.into_iter().map(|(reconciler, wake)| {
            driver::drive(reconciler, wake, self.statuses.clone(), shutdown.clone())
        });
        futures::future::join_all(drives).await;
    }
}

#[cfg(test)]
mod tests;

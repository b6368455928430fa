//! The owner of background tasks.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::Shutdown;

/// Owns spawned tasks by name; clones share the tasks. A panic is logged with the name of its task and ends only that task.
#[derive(Clone, Debug, Default)]
pub struct TaskGroup {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tracker: TaskTracker,
    tasks: Mutex<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    next: u64,
    running: BTreeMap<u64, Running>,
    panicked: Vec<String>,
    /// Set by the end of a drain: what comes later is aborted as soon as it is spawned.
    closed: bool,
}

#[derive(Debug)]
struct Running {
    name: String,
    /// Absent for the instant between the registration and the spawn.
    abort: Option<AbortHandle>,
}

/// How a drain ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Drained {
    /// Tasks that did not end in time and were aborted.
    pub unfinished: Vec<String>,
    /// Tasks that panicked at any time since the group began (the first hundred).
    pub panicked: Vec<String>,
}

impl Drained {
    /// Everything ended by itself and nothing panicked.
    pub fn is_clean(&self) -> bool {
        self.unfinished.is_empty() && self.panicked.is_empty()
    }
}

const REMEMBERED_PANICS: usize = 100;
const AFTER_ABORT: Duration = Duration::from_secs(1);

impl TaskGroup {
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` until it ends; after a drain has ended, it is aborted at its first wait.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_then(name.into(), task, |_| ());
    }

    /// Runs a task without which the service is of no use: when it ends before the shutdown, by return or panic, the
    /// shutdown is triggered.
    pub fn spawn_essential(
        &self,
        name: impl Into<String>,
        shutdown: &Shutdown,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let shutdown = shutdown.clone();
        self.spawn_then(name.into(), task, move |name| {
            if !shutdown.is_triggered() {
                tracing::error!(task = name, "an essential task ended: shutting down");
                shutdown.trigger();
            }
        });
    }

    fn spawn_then(
        &self,
        name: String,
        task: impl Future<Output = ()> + Send + 'static,
        ended: impl FnOnce(&str) + Send + 'static,
    ) {
        let id = {
            let mut tasks = self.tasks();
            tasks.next += 1;
            let id = tasks.next;
            tasks.running.insert(id, Running { name: name.clone(), abort: None });
            id
        };
        let registration = Registration { group: self.clone(), id };
        let handle = self.inner.tracker.spawn(async move {
            let registration = registration;
            let outcome = AssertUnwindSafe(task).catch_unwind().await;
            if let Err(panic) = outcome {
                let message = panic_message(panic.as_ref());
                tracing::error!(task = %name, panic = message, "a task panicked");
                let mut tasks = registration.group.tasks();
                if tasks.panicked.len() < REMEMBERED_PANICS {
                    tasks.panicked.push(name.clone());
                }
            }
            ended(&name);
        });
        let mut tasks = self.tasks();
        if tasks.closed {
            handle.abort();
        } else if let Some(running) = tasks.running.get_mut(&id) {
            running.abort = Some(handle.abort_handle());
        }
    }

    /// Names of the tasks that run now.
    pub fn running(&self) -> Vec<String> {
        self.tasks().running.values().map(|task| task.name.clone()).collect()
    }

    /// Waits at most `bound` for every task, then aborts and names the rest. Tell the tasks to stop first.
    pub async fn drain(&self, bound: Duration) -> Drained {
        self.inner.tracker.close();
        let in_time = tokio::time::timeout(bound, self.inner.tracker.wait()).await.is_ok();
        let unfinished = self.abort_the_rest();
        if !in_time {
            // What an aborted task holds is released when it is dropped, unless it blocks its thread.
            let _ = tokio::time::timeout(AFTER_ABORT, self.inner.tracker.wait()).await;
        }
        Drained { unfinished, panicked: self.tasks().panicked.clone() }
    }

    fn abort_the_rest(&self) -> Vec<String> {
        let mut tasks = self.tasks();
        tasks.closed = true;
        for abort in tasks.running.values().filter_map(|task| task.abort.as_ref()) {
            abort.abort();
        }
        tasks.running.values().map(|task| task.name.clone()).collect()
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the task off the list however it ends, an abort included.
struct Registration {
    group: TaskGroup,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.group.tasks().running.remove(&self.id);
    }
}

/// The text of a panic, when it has one.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "(no message)"
    }
}

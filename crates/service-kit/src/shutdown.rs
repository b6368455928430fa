//! How a process ends: one token that everybody watches, and groups that own their tasks, wait for them with a bound,
//! and name the ones that did not end. Nothing is left running unseen.

mod task_group;

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use task_group::panic_message;
pub use task_group::{Drained, TaskGroup};

/// The wish to stop, shared by all clones; once triggered it stays so.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    signals: Option<Arc<SignalWatcher>>,
}

/// Stops listening for signals when the last clone of its [`Shutdown`] is gone.
#[derive(Debug)]
struct SignalWatcher(AbortHandle);

impl Drop for SignalWatcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Triggered by the first SIGINT or SIGTERM; a second one exits at once with the code of the signal (130, 143).
    pub fn on_signals() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let token = CancellationToken::new();
        let watched = token.clone();
        let watcher = tokio::spawn(async move {
            let mut asked = false;
            loop {
                let (name, code) = tokio::select! {
                    _ = interrupt.recv() => ("SIGINT", 130),
                    _ = terminate.recv() => ("SIGTERM", 143),
                };
                if asked {
                    tracing::warn!(signal = name, "second signal: exiting at once");
                    std::process::exit(code);
                }
                asked = true;
                tracing::info!(signal = name, "shutting down; a second signal exits at once");
                watched.cancel();
            }
        });
        Ok(Self { token, signals: Some(Arc::new(SignalWatcher(watcher.abort_handle()))) })
    }

    /// A token that follows this one, and that can be triggered alone.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), signals: self.signals.clone() }
    }

    pub fn trigger(&self) {
        self.token.cancel();
    }

    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when triggered, at once if it already is. Cancel-safe.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// Like [`Shutdown::triggered`], but owned: for streams (`stream.take_until(shutdown.into_triggered())`).
    pub async fn into_triggered(self) {
        self.token.cancelled().await;
    }

    /// The result of `work`, or `None` when the shutdown came first; `work` is dropped then.
    pub async fn interrupts<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.token.run_until_cancelled(work).await
    }
}

#[cfg(test)]
mod tests;

//! Moves what was written from the log into the database file, without making writers wait: a thread of its own copies
//! while the writer goes on. Only when the log has grown long all the same does the writer copy the rest itself, between
//! two transactions, so that the log can begin anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::{Result, StoreError};

/// Pages between two copies beside the writer (8 MiB).
const BESIDE: i32 = 2048;
/// Pages from which on the writer sees to it that the log begins anew (64 MiB).
const INLINE: i32 = 16384;
/// Pages from which on that may make writers wait (128 MiB).
const TOO_LONG: i32 = 2 * INLINE;

/// Follows the log's length.
pub(super) struct LogWatch {
    pages: Arc<AtomicI32>,
    signal: SyncSender<()>,
    last_seen: i32,
    next_beside: i32,
    next_inline: i32,
}

impl LogWatch {
    pub fn new(pages: Arc<AtomicI32>, signal: SyncSender<()>) -> Self {
        Self { pages, signal, last_seen: 0, next_beside: BESIDE, next_inline: INLINE }
    }

    pub fn after_commit(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.last_seen {
            // It began anew.
            (self.next_beside, self.next_inline) = (BESIDE, INLINE);
        }
        self.last_seen = pages;
        if pages >= self.next_inline {
            restart(connection, if pages < TOO_LONG { Duration::from_millis(50) } else { super::PATIENCE });
            self.next_inline = pages + BESIDE;
        } else if pages >= self.next_beside && pages < INLINE {
            // Full: a copy is due already.
            let _ = self.signal.try_send(());
            self.next_beside = pages + BESIDE;
        }
    }
}

fn passive(connection: &Connection) {
    checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)");
}

/// Copies the rest and waits for a copy beside the writer and for the readers that still look at the log. New readers
/// need only the file, so waiting has an end.
fn restart(connection: &Connection, patience: Duration) {
    let wait_for = |patience| {
        if let Err(error) = connection.busy_timeout(patience) {
            tracing::warn!(%error, "the store's patience cannot be set");
        }
    };
    wait_for(patience);
    checkpoint(connection, "PRAGMA wal_checkpoint(RESTART)");
    wait_for(super::PATIENCE);
}

fn checkpoint(connection: &Connection, pragma: &str) {
    if let Err(error) = connection.query_row(pragma, [], |_| Ok(())) {
        tracing::warn!(%error, "the store's log could not be copied into the database file");
    }
}

/// Empties the log at the end, so that a copy of the file alone is complete.
pub(super) fn finish(connection: &Connection) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the store's log could not be emptied at the end; the next start does it");
    }
}

/// Starts the thread that copies; it ends when the writer drops its end of the channel.
pub(super) fn start(path: &Path, signals: Receiver<()>) -> Result<JoinHandle<()>> {
    let connection = super::connect(path)?;
    std::thread::Builder::new()
        .name("store-checkpoint".to_owned())
        .spawn(move || {
            for () in signals {
                passive(&connection);
            }
        })
        .map_err(|error| StoreError::Unavailable(format!("no thread for the store's checkpoints: {error}")))
}

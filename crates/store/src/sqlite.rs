//! The embedded store: one file, one writer thread that commits what waits together, some readers beside it.

mod aside;
mod auth;
mod checkpoint;
mod dispatch;
mod errors;
mod identity;
mod lanes;
mod ledger;
mod list;
mod logs;
#[cfg(test)]
mod plans;
mod projects;
mod readers;
mod row;
mod runs;
mod schema;
mod statements;
mod test_results;
mod workers;
mod writer;

use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::aside::Aside;
use crate::{Result, StoreError, Stores};
use ledger::{Depths, Ledger};
use readers::Readers;
use writer::Writer;

/// How long a connection waits for another process that writes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the store is and what it may use.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    pub path: PathBuf,
    /// Threads that read beside the writer.
    pub readers: usize,
    /// Commands and queries that may stand in line before callers wait.
    pub waiting: usize,
    /// The file's size is never let grow beyond this many bytes; no limit by default.
    pub max_bytes: Option<u64>,
}

impl SqliteOptions {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), readers: 4, waiting: 1024, max_bytes: None }
    }
}

/// What every part of the store shares.
#[derive(Clone)]
struct Sqlite {
    writer: Writer,
    readers: Readers,
    depths: Arc<Depths>,
    aside: Arc<Aside>,
}

/// An open store. Ends by itself when everything made from it is dropped; [`close`](Self::close) also waits for that.
pub struct SqliteStores {
    sqlite: Sqlite,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Opens the store, creating the file (for its owner's eyes only) or bringing it forward to the present schema.
///
/// Blocks for some milliseconds; longer after a crash, when the log is replayed.
pub fn open(options: SqliteOptions) -> Result<SqliteStores> {
    create_private(&options.path)?;
    let mut connection = connect(&options.path)?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Unavailable(format!(
            "the file system cannot share memory (journal mode {mode})"
        )));
    }
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    schema::migrate(&mut connection)?;
    aside::look_again(&mut connection)?;
    if let Some(bytes) = options.max_bytes {
        let page: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        connection.pragma_update(None, "max_page_count", bytes / page)?;
    }

    let ledger = Ledger::default();
    let depths = ledger.depths();
    let (signal, signals) = std::sync::mpsc::sync_channel(1);
    let (readers, mut threads) =
        Readers::start(&options.path, options.readers.max(1), options.waiting.max(1))?;
    threads.push(checkpoint::start(&options.path, signals)?);
    let (writer, thread) = Writer::start(connection, ledger, signal, options.waiting.max(1))?;
    threads.push(thread);
    let aside = Arc::default();
    Ok(SqliteStores { sqlite: Sqlite { writer, readers, depths, aside }, threads: Mutex::new(threads) })
}

impl SqliteStores {
    /// The parts, to be handed around.
    pub fn stores(&self) -> Stores {
        let sqlite = Arc::new(self.sqlite.clone());
        Stores {
            runs: sqlite.clone(),
            dispatch: sqlite.clone(),
            logs: sqlite.clone(),
            tests: sqlite.clone(),
            workers: sqlite.clone(),
            auth: sqlite.clone(),
            organizations: sqlite.clone(),
            users: sqlite.clone(),
            keys: sqlite.clone(),
            sessions: sqlite.clone(),
            invitations: sqlite.clone(),
            resets: sqlite.clone(),
            sign_ins: sqlite.clone(),
            audit: sqlite.clone(),
            projects: sqlite,
        }
    }

    /// Commits what waits, empties the log into the file and ends the threads; later calls find the store unavailable.
    pub async fn close(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        self.sqlite.readers.close().await;
        self.sqlite.writer.close().await;
        let ended = tokio::task::spawn_blocking(move || {
            threads.into_iter().map(JoinHandle::join).filter(std::result::Result::is_err).count()
        });
        match ended.await {
            Ok(0) => {}
            _ => tracing::error!("a thread of the store ended in a panic"),
        }
    }
}

fn create_private(path: &Path) -> Result<()> {
    let cannot = |error: std::io::Error| {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::NoSpace,
            _ => StoreError::Unavailable(format!("{} cannot be opened: {error}", path.display())),
        }
    };
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(cannot)?;
    let permissions = file.metadata().map_err(cannot)?.permissions();
    // The log and its index get the file's mode from SQLite.
    if permissions.mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
    }
    Ok(())
}

/// A connection as every thread uses it: alone, and without copying the log on its own.
fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

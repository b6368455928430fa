//! The one writer: everything that waits is written in one transaction, committed once, and answered together, so that
//! the price of a sync is shared. Commands in a transaction do not know of each other; when one fails, the transaction is
//! rolled back and each of its commands is tried alone, so that only the failing one fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint;
use super::ledger::Ledger;
use crate::{Durability, Result, StoreError};

/// Commands in one transaction.
const BATCH: usize = 512;

/// What a command writes through.
pub(super) struct Writing<'a> {
    pub connection: &'a Connection,
    pub ledger: &'a mut Ledger,
}

/// A command and whoever waits for its answer. It may run twice: the first time's effects are then gone.
trait Command: Send {
    fn synced(&self) -> bool;
    fn run(&mut self, writing: &mut Writing<'_>) -> Result<()>;
    fn answer(self: Box<Self>, outcome: Result<()>);
}

struct Call<T, W> {
    durability: Durability,
    work: W,
    value: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, W> Command for Call<T, W>
where
    T: Send,
    W: FnMut(&mut Writing<'_>) -> Result<T> + Send,
{
    fn synced(&self) -> bool {
        self.durability == Durability::Synced
    }

    fn run(&mut self, writing: &mut Writing<'_>) -> Result<()> {
        self.value = Some((self.work)(writing)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<()>) {
        let Self { value, reply, .. } = *self;
        let answer = outcome.and_then(|()| {
            value.ok_or_else(|| StoreError::Unavailable("the command did not run".to_owned()))
        });
        // Whoever asked may have gone; the write stands.
        let _ = reply.send(answer);
    }
}

enum Message {
    Command(Box<dyn Command>),
    Close,
}

/// Hands commands to the writer's thread.
#[derive(Clone)]
pub(super) struct Writer {
    inbox: mpsc::Sender<Message>,
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

impl Writer {
    /// Starts the thread; `waiting` commands at most stand in line, further callers wait.
    pub fn start(
        connection: Connection,
        mut ledger: Ledger,
        checkpoints: SyncSender<()>,
        waiting: usize,
    ) -> Result<(Self, JoinHandle<()>)> {
        let (inbox, commands) = mpsc::channel(waiting);
        let wal_pages = Arc::new(AtomicI32::new(0));
        let mut connection = connection;
        // In this order: what somebody else writes in between is noticed later.
        let data_version = data_version(&connection)?;
        ledger.reload(&connection)?;
        let seen = Arc::clone(&wal_pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            seen.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let log = checkpoint::LogWatch::new(wal_pages, checkpoints);
        let mut thread = WriterThread { connection, ledger, log, full_sync: None, data_version };
        let handle = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || thread.serve(commands))
            .map_err(|error| StoreError::Unavailable(format!("no thread for the store's writer: {error}")))?;
        Ok((Self { inbox }, handle))
    }

    /// Runs `work` in the next transaction; the answer comes after its commit.
    pub async fn write<T, W>(&self, durability: Durability, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnMut(&mut Writing<'_>) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Box::new(Call { durability, work, value: None, reply });
        self.inbox.send(Message::Command(call)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Lets the thread end once everything that waits is committed.
    pub async fn close(&self) {
        // Closed already: nothing to end.
        let _ = self.inbox.send(Message::Close).await;
    }
}

struct WriterThread {
    connection: Connection,
    ledger: Ledger,
    log: checkpoint::LogWatch,
    full_sync: Option<bool>,
    data_version: i64,
}

impl WriterThread {
    fn serve(&mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(BATCH);
        while inbox.blocking_recv_many(&mut messages, BATCH) > 0 {
            let mut commands = Vec::with_capacity(messages.len());
            for message in messages.drain(..) {
                match message {
                    Message::Command(command) => commands.push(command),
                    Message::Close => inbox.close(),
                }
            }
            if !commands.is_empty() {
                self.commit_together(commands);
            }
            self.log.after_commit(&self.connection);
        }
        checkpoint::finish(&self.connection);
    }

    fn commit_together(&mut self, mut commands: Vec<Box<dyn Command>>) {
        let begun = Instant::now();
        metrics::histogram!("gantry_store_batch_commands").record(commands.len() as f64);
        match self.transaction(&mut commands) {
            Err(Failed::Command(_)) if commands.len() > 1 => {
                for command in commands {
                    let mut alone = [command];
                    let outcome = self.transaction(&mut alone).map_err(Failed::into_error);
                    let [command] = alone;
                    command.answer(outcome);
                }
            }
            outcome => {
                let outcome = outcome.map_err(Failed::into_error);
                if let Err(error) = &outcome {
                    tracing::warn!(%error, commands = commands.len(), "the store could not write");
                }
                for command in commands {
                    command.answer(outcome.clone());
                }
            }
        }
        metrics::histogram!("gantry_store_commit_seconds").record(begun.elapsed().as_secs_f64());
    }

    fn transaction(&mut self, commands: &mut [Box<dyn Command>]) -> std::result::Result<(), Failed> {
        let outcome = self.try_transaction(commands);
        if outcome.is_err() {
            self.ledger.rolled_back();
            // Some errors roll back by themselves.
            if !self.connection.is_autocommit()
                && let Err(error) = self.connection.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "a transaction could not be rolled back");
            }
        }
        outcome
    }

    fn try_transaction(&mut self, commands: &mut [Box<dyn Command>]) -> std::result::Result<(), Failed> {
        let full_sync = commands.iter().any(|command| command.synced());
        if self.full_sync != Some(full_sync) {
            let pragma = if full_sync { "PRAGMA synchronous=FULL" } else { "PRAGMA synchronous=NORMAL" };
            self.connection.execute_batch(pragma)?;
            self.full_sync = Some(full_sync);
        }
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.notice_other_writers()?;
        for command in commands.iter_mut() {
            let mut writing = Writing { connection: &self.connection, ledger: &mut self.ledger };
            command.run(&mut writing).map_err(Failed::Command)?;
        }
        self.ledger.write_down(&self.connection)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.ledger.committed();
        Ok(())
    }

    /// What the ledger remembers holds only while nobody else writes to the file.
    fn notice_other_writers(&mut self) -> Result<()> {
        let version = data_version(&self.connection)?;
        if self.data_version != version {
            tracing::info!("somebody else wrote to the store's file");
            self.ledger.reload(&self.connection)?;
            self.data_version = version;
        }
        Ok(())
    }
}

/// A number that changes when another connection has written to the file.
fn data_version(connection: &Connection) -> Result<i64> {
    Ok(connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
}

enum Failed {
    /// One of the commands.
    Command(StoreError),
    /// Beginning or committing.
    Transaction(StoreError),
}

impl Failed {
    fn into_error(self) -> StoreError {
        match self {
            Self::Command(error) | Self::Transaction(error) => error,
        }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Transaction(error)
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Transaction(error.into())
    }
}

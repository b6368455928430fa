//! Connections that only read, each in its own thread: they run beside the writer and see every committed write.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::{Result, StoreError};

type Query = Box<dyn FnOnce(&Connection) + Send>;

enum Message {
    Query(Query),
    Close,
}

/// Hands queries to whichever reader is free.
#[derive(Clone)]
pub(super) struct Readers {
    inbox: mpsc::Sender<Message>,
    threads: usize,
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

impl Readers {
    /// Starts `threads` readers; `waiting` queries at most stand in line, further callers wait.
    pub fn start(path: &Path, threads: usize, waiting: usize) -> Result<(Self, Vec<JoinHandle<()>>)> {
        let (inbox, queries) = mpsc::channel(waiting);
        let queries = Arc::new(Mutex::new(queries));
        let mut handles = Vec::with_capacity(threads);
        for number in 0..threads {
            let connection = super::connect(path)?;
            connection.pragma_update(None, "query_only", true)?;
            let queries = Arc::clone(&queries);
            let handle = std::thread::Builder::new()
                .name(format!("store-reader-{number}"))
                .spawn(move || serve(&connection, &queries))
                .map_err(|error| StoreError::Unavailable(format!("no thread for a store reader: {error}")))?;
            handles.push(handle);
        }
        Ok((Self { inbox, threads }, handles))
    }

    /// Runs `work` on a reader; it sees every write answered before.
    pub async fn read<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let query: Query = Box::new(move |connection| {
            // Whoever asked may have gone.
            let _ = reply.send(work(connection));
        });
        self.inbox.send(Message::Query(query)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Lets the threads end once every query that waits is answered.
    pub async fn close(&self) {
        for _ in 0..self.threads {
            // Closed already: nothing to end.
            let _ = self.inbox.send(Message::Close).await;
        }
    }
}

fn serve(connection: &Connection, queries: &Mutex<mpsc::Receiver<Message>>) {
    loop {
        let next = queries.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match next {
            Some(Message::Query(query)) => query(connection),
            Some(Message::Close) | None => return,
        }
    }
}

//! What waits at the same time is written together: a round trip and a sync are shared, and nobody waits for company.

use std::sync::Mutex;
use std::sync::PoisonError;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::{Result, StoreError};

/// Items in one batch.
const SIZE: usize = 128;

type Item<T, R> = (T, oneshot::Sender<Result<R>>);

/// Hands items to the task that writes them.
pub(super) struct Batcher<T, R> {
    inbox: Mutex<Option<mpsc::Sender<Item<T, R>>>>,
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

impl<T, R> Batcher<T, R>
where
    T: Send + 'static,
    R: Send + 'static,
{
    /// Starts the task. `work` answers every item, in order; at most `together` batches are under way, `waiting` items
    /// stand in line.
    pub fn start<W, F>(waiting: usize, together: usize, work: W) -> (Self, JoinHandle<()>)
    where
        W: Fn(Vec<T>) -> F + Send + 'static,
        F: Future<Output = Vec<Result<R>>> + Send + 'static,
    {
        let (inbox, items) = mpsc::channel(waiting.max(1));
        let task = tokio::spawn(serve(items, together, work));
        (Self { inbox: Mutex::new(Some(inbox)) }, task)
    }

    /// Writes the item with those that wait; once handed over it is written even if nobody waits for the answer.
    pub async fn write(&self, item: T) -> Result<R> {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (reply, answer) = oneshot::channel();
        inbox.ok_or_else(closed)?.send((item, reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Lets the task end once everything that waits is written.
    pub fn close(&self) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

async fn serve<T, R, F>(mut items: mpsc::Receiver<Item<T, R>>, together: usize, work: impl Fn(Vec<T>) -> F)
where
    F: Future<Output = Vec<Result<R>>>,
{
    let mut running = FuturesUnordered::new();
    let (mut waiting, mut open) = (Vec::with_capacity(SIZE), true);
    while open || !running.is_empty() {
        tokio::select! {
            count = items.recv_many(&mut waiting, SIZE), if open && running.len() < together => {
                if count == 0 {
                    open = false;
                    continue;
                }
                let (batch, replies): (Vec<_>, Vec<_>) = waiting.drain(..).unzip();
                metrics::histogram!("gantry_store_batch_commands").record(batch.len() as f64);
                let written = work(batch);
                running.push(async move {
                    let mut answers = written.await.into_iter();
                    for reply in replies {
                        let answer = answers.next().unwrap_or_else(|| Err(closed()));
                        // Whoever asked may have gone; the write stands.
                        let _ = reply.send(answer);
                    }
                });
            }
            Some(()) = running.next(), if !running.is_empty() => {}
        }
    }
}

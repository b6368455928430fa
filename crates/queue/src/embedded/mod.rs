//! The queue of a single process. It holds messages in memory only: after a restart, the dispatcher finds what is
//! queued in the store and publishes it again.

mod lane;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use gantry_domain::spec::Pool;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use self::lane::{ConsumerId, Lane, Tag};
use crate::{Consumer, ControlMessage, Delivery, Queue, QueueError, Receipt, RunMessage};

/// Far more than the dispatcher hands over ahead of the workers.
const CAPACITY: usize = 100_000;

/// How far a control subscriber may fall behind before it misses messages.
const CONTROL_BACKLOG: usize = 1024;

/// Queues of one process, in memory. Clones share them.
#[derive(Clone)]
pub struct EmbeddedQueue {
    shared: Arc<Shared>,
}

struct Shared {
    capacity: usize,
    state: Mutex<State>,
}

/// One lock for all: nothing under it takes longer than a microsecond.
struct State {
    /// Only pools that hold messages or have consumers.
    lanes: HashMap<Pool, Lane>,
    next_consumer: ConsumerId,
    /// `None` once the queue is closed.
    control: Option<broadcast::Sender<ControlMessage>>,
}

impl EmbeddedQueue {
    /// A queue that holds up to 100,000 messages per pool.
    pub fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    /// A queue that refuses further messages to a pool that holds `capacity` of them.
    pub fn with_capacity(capacity: usize) -> Self {
        let control = Some(broadcast::Sender::new(CONTROL_BACKLOG));
        let state = State { lanes: HashMap::new(), next_consumer: ConsumerId::default(), control };
        Self { shared: Arc::new(Shared { capacity, state: Mutex::new(state) }) }
    }
}

impl Default for EmbeddedQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn is_closed(&self) -> bool {
        self.control.is_none()
    }
}

fn closed() -> QueueError {
    QueueError::Unavailable("the queue is closed".to_owned())
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a lane and forgets it when nothing is left in it; `None` when there is none.
    fn change<T>(&self, pool: &Pool, change: impl FnOnce(&mut Lane) -> T) -> Option<T> {
        let mut state = self.state();
        let lane = state.lanes.get_mut(pool)?;
        let outcome = change(lane);
        if lane.is_idle() {
            state.lanes.remove(pool);
        }
        Some(outcome)
    }
}

#[async_trait]
impl Queue for EmbeddedQueue {
    async fn publish(&self, pool: &Pool, message: RunMessage) -> Result<(), QueueError> {
        let mut state = self.shared.state();
        if state.is_closed() {
            return Err(closed());
        }
        let taken = match state.lanes.get_mut(pool) {
            Some(lane) => lane.publish(message, self.shared.capacity),
            None => state.lanes.entry(pool.clone()).or_default().publish(message, self.shared.capacity),
        };
        if taken { Ok(()) } else { Err(QueueError::Full(pool.clone())) }
    }

    async fn consume(&self, pool: &Pool) -> Result<Box<dyn Consumer>, QueueError> {
        let mut state = self.shared.state();
        if state.is_closed() {
            return Err(closed());
        }
        let id = state.next_consumer;
        state.next_consumer = id.next();
        state.lanes.entry(pool.clone()).or_default().join();
        Ok(Box::new(EmbeddedConsumer { shared: Arc::clone(&self.shared), pool: pool.clone(), id }))
    }

    async fn depth(&self, pool: &Pool) -> Result<u64, QueueError> {
        Ok(self.shared.state().lanes.get(pool).map_or(0, |lane| lane.depth() as u64))
    }

    /// What is handed over in memory is read by whoever wrote it.
    async fn unreadable(&self) -> Result<u64, QueueError> {
        Ok(0)
    }

    async fn broadcast(&self, message: ControlMessage) -> Result<(), QueueError> {
        let state = self.shared.state();
        let control = state.control.as_ref().ok_or_else(closed)?;
        // An error says that nobody listens at the moment.
        let _ = control.send(message);
        Ok(())
    }

    async fn control(&self) -> Result<BoxStream<'static, ControlMessage>, QueueError> {
        let receiver = self.shared.state().control.as_ref().ok_or_else(closed)?.subscribe();
        Ok(futures::stream::unfold(receiver, |mut receiver| async {
            loop {
                match receiver.recv().await {
                    Ok(message) => return Some((message, receiver)),
                    Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "missed control messages"),
                    Err(RecvError::Closed) => return None,
                }
            }
        })
        .boxed())
    }

    async fn close(&self) {
        let mut state = self.shared.state();
        state.control = None;
        state.lanes.values().for_each(Lane::wake_all);
    }
}

struct EmbeddedConsumer {
    shared: Arc<Shared>,
    pool: Pool,
    id: ConsumerId,
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        // The lane is there as long as this consumer is.
        let arrival = self.shared.change(&self.pool, |lane| lane.arrival())?;
        loop {
            let mut arrived = std::pin::pin!(arrival.notified());
            // Waiting begins before looking, so that nothing can arrive unseen in between.
            arrived.as_mut().enable();
            {
                let mut state = self.shared.state();
                if state.is_closed() {
                    return None;
                }
                if let Some((tag, message)) = state.lanes.get_mut(&self.pool)?.take(self.id) {
                    let receipt =
                        EmbeddedReceipt { shared: Arc::clone(&self.shared), pool: self.pool.clone(), tag };
                    return Some(Delivery::new(message, Box::new(receipt)));
                }
            }
            arrived.await;
        }
    }

    /// Nothing is taken ahead of `next`, so there is nothing to stop.
    async fn pause(&mut self) {}
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.shared.change(&self.pool, |lane| lane.leave(self.id));
    }
}

struct EmbeddedReceipt {
    shared: Arc<Shared>,
    pool: Pool,
    tag: Tag,
}

#[async_trait]
impl Receipt for EmbeddedReceipt {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        match self.shared.change(&self.pool, |lane| lane.ack(self.tag)) {
            Some(true) => Ok(()),
            Some(false) | None => {
                Err(QueueError::Unavailable("the consumer of this message is gone".to_owned()))
            }
        }
    }
}

impl Drop for EmbeddedReceipt {
    /// Gives the message back, unless it was acknowledged or its consumer already did.
    fn drop(&mut self) {
        self.shared.change(&self.pool, |lane| lane.give_back(self.tag));
    }
}

#[cfg(test)]
mod tests;

//! Transport between producers and workers: run messages to exactly one worker, control messages to all of them.
//!
//! A message only says *look*: the store decides. Losing one costs a delay, a duplicate costs a refused claim.

#[cfg(test)]
mod contract;
mod embedded;
mod measured;
mod rabbitmq;

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::stream::BoxStream;
use gantry_domain::id::{DispatchId, RunId};
use gantry_domain::spec::Pool;
use serde::{Deserialize, Serialize};

pub use self::embedded::EmbeddedQueue;
pub use self::measured::Measured;
pub use self::rabbitmq::{RabbitOptions, RabbitQueue};

/// "This run waits for a worker." Ids only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMessage {
    pub run: RunId,
    pub dispatch: DispatchId,
    /// W3C trace context of the request that created the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trace: BTreeMap<String, String>,
}

/// To every worker at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ControlMessage {
    /// Whoever executes this attempt ends it.
    Cancel { run: RunId, attempt: u32 },
}

/// The broker did not take or give what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    #[error("the broker cannot be reached: {0}")]
    Unavailable(String),
    /// The settings make no sense; asking again will not help.
    #[error("the queue is misconfigured: {0}")]
    Misconfigured(String),
    #[error("no queue takes messages of pool {0}")]
    Unroutable(Pool),
    #[error("the queue of pool {0} is full")]
    Full(Pool),
}

/// Sends and receives run messages and control messages.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Returns once the broker has taken responsibility. After an error the message may still arrive.
    async fn publish(&self, pool: &Pool, message: RunMessage) -> Result<(), QueueError>;

    /// Messages of a pool, each to one consumer. Consumers of the same pool share them.
    async fn consume(&self, pool: &Pool) -> Result<Box<dyn Consumer>, QueueError>;

    /// Messages waiting or unacknowledged in a pool's queue.
    async fn depth(&self, pool: &Pool) -> Result<u64, QueueError>;

    /// Messages set aside because nobody could read them.
    async fn unreadable(&self) -> Result<u64, QueueError>;

    /// Reaches every present subscriber, at most once, best effort.
    async fn broadcast(&self, message: ControlMessage) -> Result<(), QueueError>;

    /// Control messages from now on. A subscriber that reads too slowly misses some.
    async fn control(&self) -> Result<BoxStream<'static, ControlMessage>, QueueError>;

    /// Ends every consumer and control stream, present and future, and takes no more messages: for shutdown. What is in
    /// hand can still be acknowledged.
    async fn close(&self);
}

/// One consumer of a pool's queue. Dropping it gives unacknowledged messages back; acknowledging one of them after
/// that is an error.
#[async_trait]
pub trait Consumer: Send {
    /// The next message; resumes a paused consumer. `None` when the queue is closed for good. Cancelling the call
    /// loses nothing.
    async fn next(&mut self) -> Option<Delivery>;

    /// No further message is taken from the broker until `next` is called. To be called *before* acknowledging the
    /// message that fills the last slot.
    async fn pause(&mut self);
}

/// A message in hand. Dropping it without `ack` gives it back to the queue.
pub struct Delivery {
    pub message: RunMessage,
    receipt: Box<dyn Receipt>,
}

/// The backend's side of an acknowledgement.
#[async_trait]
pub trait Receipt: Send {
    async fn ack(self: Box<Self>) -> Result<(), QueueError>;
}

impl Delivery {
    pub fn new(message: RunMessage, receipt: Box<dyn Receipt>) -> Self {
        Self { message, receipt }
    }

    /// Takes the message off the queue for good. An error means that it may be delivered again.
    pub async fn ack(self) -> Result<(), QueueError> {
        self.receipt.ack().await
    }
}

//! A queue that can be switched off, wholly or in part.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use gantry_domain::spec::Pool;
use gantry_queue::{Consumer, ControlMessage, Queue, QueueError, RunMessage};

use crate::moody_store::INTERNAL;

/// How the queue is today.
#[derive(Clone, Default)]
pub struct QueueMood(Arc<Inner>);

#[derive(Default)]
struct Inner {
    mood: AtomicU8,
    refused: AtomicU32,
}

const AWAY: u8 = 1;
const TAKES_NOTHING: u8 = 2;
const KEEPS_SILENT: u8 = 3;

impl QueueMood {
    pub fn well(&self) {
        self.0.mood.store(0, Ordering::SeqCst);
    }

    /// Nothing works.
    pub fn away(&self) {
        self.0.mood.store(AWAY, Ordering::SeqCst);
    }

    /// Answers questions and takes no messages.
    pub fn takes_nothing(&self) {
        self.0.mood.store(TAKES_NOTHING, Ordering::SeqCst);
    }

    /// Takes messages, and the answer is lost.
    pub fn keeps_silent(&self) {
        self.0.mood.store(KEEPS_SILENT, Ordering::SeqCst);
    }

    /// Messages that were not taken, as far as the caller knows.
    pub fn refused(&self) -> u32 {
        self.0.refused.load(Ordering::SeqCst)
    }

    fn is(&self, mood: u8) -> bool {
        self.0.mood.load(Ordering::SeqCst) == mood
    }

    /// Puts this mood between a queue and its users.
    pub fn over(&self, queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
        Arc::new(MoodyQueue { queue, mood: self.clone() })
    }
}

struct MoodyQueue {
    queue: Arc<dyn Queue>,
    mood: QueueMood,
}

fn unavailable() -> QueueError {
    QueueError::Unavailable(INTERNAL.to_owned())
}

impl MoodyQueue {
    fn queue(&self) -> Result<&dyn Queue, QueueError> {
        if self.mood.is(AWAY) { Err(unavailable()) } else { Ok(&*self.queue) }
    }
}

#[async_trait]
impl Queue for MoodyQueue {
    async fn publish(&self, pool: &Pool, message: RunMessage) -> Result<(), QueueError> {
        let silent = self.mood.is(KEEPS_SILENT);
        if self.mood.is(AWAY) || self.mood.is(TAKES_NOTHING) || silent {
            self.mood.0.refused.fetch_add(1, Ordering::SeqCst);
            if silent {
                self.queue.publish(pool, message).await?;
            }
            return Err(unavailable());
        }
        self.queue.publish(pool, message).await
    }

    async fn consume(&self, pool: &Pool) -> Result<Box<dyn Consumer>, QueueError> {
        self.queue()?.consume(pool).await
    }

    async fn depth(&self, pool: &Pool) -> Result<u64, QueueError> {
        self.queue()?.depth(pool).await
    }

    async fn unreadable(&self) -> Result<u64, QueueError> {
        self.queue()?.unreadable().await
    }

    async fn broadcast(&self, message: ControlMessage) -> Result<(), QueueError> {
        self.queue()?.broadcast(message).await
    }

    async fn control(&self) -> Result<BoxStream<'static, ControlMessage>, QueueError> {
        self.queue()?.control().await
    }

    async fn close(&self) {
        self.queue.close().await;
    }
}

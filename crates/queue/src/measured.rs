//! How long the broker takes, whatever the backend: around another queue.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures::stream::BoxStream;
use gantry_domain::spec::Pool;
use metrics::Unit;

use crate::{Consumer, ControlMessage, Delivery, Queue, QueueError, Receipt, RunMessage};

const SECONDS: &str = "gantry_queue_call_seconds";

/// The same queue, measured as `gantry_queue_call_seconds`.
pub struct Measured(Arc<dyn Queue>);

impl Measured {
    pub fn over(queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
        metrics::describe_histogram!(
            SECONDS,
            Unit::Seconds,
            "Time until the broker answered, by operation and result (ok or error)"
        );
        Arc::new(Self(queue))
    }
}

async fn timed<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, QueueError>>,
) -> Result<T, QueueError> {
    let begun = Instant::now();
    let answer = call.await;
    let result = if answer.is_ok() { "ok" } else { "error" };
    metrics::histogram!(SECONDS, "operation" => operation, "result" => result).record(begun.elapsed());
    answer
}

#[async_trait]
impl Queue for Measured {
    async fn publish(&self, pool: &Pool, message: RunMessage) -> Result<(), QueueError> {
        timed("publish", self.0.publish(pool, message)).await
    }

    async fn consume(&self, pool: &Pool) -> Result<Box<dyn Consumer>, QueueError> {
        let consumer = timed("consume", self.0.consume(pool)).await?;
        Ok(Box::new(MeasuredConsumer(consumer)))
    }

    async fn depth(&self, pool: &Pool) -> Result<u64, QueueError> {
        timed("depth", self.0.depth(pool)).await
    }

    async fn unreadable(&self) -> Result<u64, QueueError> {
        timed("unreadable", self.0.unreadable()).await
    }

    async fn broadcast(&self, message: ControlMessage) -> Result<(), QueueError> {
        timed("broadcast", self.0.broadcast(message)).await
    }

    async fn control(&self) -> Result<BoxStream<'static, ControlMessage>, QueueError> {
        timed("control", self.0.control()).await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

struct MeasuredConsumer(Box<dyn Consumer>);

#[async_trait]
impl Consumer for MeasuredConsumer {
    /// Waiting for a message says nothing about the broker.
    async fn next(&mut self) -> Option<Delivery> {
        let Delivery { message, receipt } = self.0.next().await?;
        Some(Delivery::new(message, Box::new(MeasuredReceipt(receipt))))
    }

    async fn pause(&mut self) {
        self.0.pause().await;
    }
}

struct MeasuredReceipt(Box<dyn Receipt>);

#[async_trait]
impl Receipt for MeasuredReceipt {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        timed("ack", self.0.ack()).await
    }
}

//! The bus of a single process. An event wakes those who follow its run or its organization, and nobody else: a
//! thousand followers of one run sleep through what all other runs do.

mod topics;

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use gantry_domain::event::Event;
use tokio::sync::broadcast::error::RecvError;

use self::topics::Topics;
use crate::{Bus, Heard, Topic};

/// How many events a subscriber may fall behind before it hears a gap. Every topic somebody listens to keeps as many.
const BACKLOG: usize = 256;

/// Events within one process. Clones are the same bus.
#[derive(Clone)]
pub struct LocalBus {
    topics: Arc<Topics>,
}

impl LocalBus {
    pub fn new() -> Self {
        Self::with_backlog(BACKLOG)
    }

    /// A bus whose subscribers may fall `backlog` events behind (rounded up to a power of two).
    pub fn with_backlog(backlog: usize) -> Self {
        Self { topics: Arc::new(Topics::new(backlog.max(1))) }
    }

    /// How many topics somebody listens to.
    pub fn topics(&self) -> usize {
        self.topics.count()
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Bus for LocalBus {
    fn publish(&self, event: Event) {
        self.topics.send(Topic::Run(event.organization, event.run), &event);
        self.topics.send(Topic::Organization(event.organization), &event);
    }

    async fn subscribe(&self, topic: Topic) -> BoxStream<'static, Heard> {
        let subscription = self.topics.subscribe(topic);
        futures::stream::unfold(subscription, |mut subscription| async move {
            let heard = match subscription.receiver.recv().await {
                Ok(event) => Heard::Event(event),
                Err(RecvError::Lagged(_)) => Heard::Gap,
                Err(RecvError::Closed) => return None,
            };
            Some((heard, subscription))
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests;

//! The bus of a single process.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use gantry_domain::event::Event;

use crate::topics::{BACKLOG, Topics};
use crate::{Bus, Heard, Topic};

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
        self.topics.tell(&event);
    }

    async fn subscribe(&self, topic: Topic) -> BoxStream<'static, Heard> {
        self.topics.listen(topic)
    }
}

#[cfg(test)]
mod tests;

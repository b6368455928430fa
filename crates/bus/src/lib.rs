//! Live events between replicas. Best effort by design: whoever misses one looks into the store a little later.

#[cfg(test)]
mod contract;
mod local;
mod redis;
mod topics;

use async_trait::async_trait;
use futures::stream::BoxStream;
use gantry_domain::event::Event;
use gantry_domain::id::{OrganizationId, RunId};

pub use self::local::LocalBus;
pub use self::redis::{BadRedisOptions, RedisBus, RedisOptions};

/// Whose events to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    Organization(OrganizationId),
    Run(OrganizationId, RunId),
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Event(Event),
    /// Some events were missed: look into the store.
    Gap,
}

/// Tells every replica what changed.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Never waits for subscribers, never fails the caller.
    fn publish(&self, event: Event);

    /// Events from now on, in order: whatever is published after this returned is heard, or a [`Heard::Gap`] in its
    /// place. What was on its way from another replica may be heard, too. The stream ends with the bus.
    async fn subscribe(&self, topic: Topic) -> BoxStream<'static, Heard>;

    /// Whether events of other replicas are being missed. Subscribers hear a [`Heard::Gap`] every second meanwhile, so
    /// that live views go on by looking into the store.
    fn is_degraded(&self) -> bool {
        false
    }
}

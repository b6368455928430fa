//! Who listens to what. A topic exists as long as somebody listens to it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use gantry_domain::event::Event;
use tokio::sync::broadcast;

use crate::Topic;

const SHARDS: usize = 16;

#[derive(Default)]
struct Shard(RwLock<HashMap<Topic, broadcast::Sender<Event>>>);

impl Shard {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Topic, broadcast::Sender<Event>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Topic, broadcast::Sender<Event>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Topics {
    backlog: usize,
    hasher: RandomState,
    shards: [Shard; SHARDS],
    /// All topics of all shards, so that publishing to nobody takes no lock.
    count: AtomicUsize,
}

/// A place in a topic; the last one to go takes the topic along. The receiver goes first.
pub(super) struct Subscription {
    pub(super) receiver: broadcast::Receiver<Event>,
    _place: Place,
}

struct Place {
    topic: Topic,
    /// Subscribers do not keep the bus alive.
    topics: Weak<Topics>,
}

impl Topics {
    pub(super) fn new(backlog: usize) -> Self {
        Self { backlog, hasher: RandomState::new(), shards: Default::default(), count: AtomicUsize::new(0) }
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn shard(&self, topic: Topic) -> &Shard {
        &self.shards[self.hasher.hash_one(topic) as usize % SHARDS]
    }

    pub(super) fn send(&self, topic: Topic, event: &Event) {
        if self.count() == 0 {
            return;
        }
        if let Some(sender) = self.shard(topic).read().get(&topic) {
            // It fails when the last subscriber is just going: nobody is left to tell.
            let _ = sender.send(event.clone());
        }
    }

    pub(super) fn subscribe(self: &Arc<Self>, topic: Topic) -> Subscription {
        let mut shard = self.shard(topic).write();
        let sender = shard.entry(topic).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::SeqCst);
            broadcast::Sender::new(self.backlog)
        });
        let receiver = sender.subscribe();
        Subscription { receiver, _place: Place { topic, topics: Arc::downgrade(self) } }
    }

    /// Subscribing takes the same lock, so a topic without receivers has none on the way either.
    fn forget_if_unheard(&self, topic: Topic) {
        let mut shard = self.shard(topic).write();
        if shard.get(&topic).is_some_and(|sender| sender.receiver_count() == 0) {
            shard.remove(&topic);
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(topics) = self.topics.upgrade() {
            topics.forget_if_unheard(self.topic);
        }
    }
}

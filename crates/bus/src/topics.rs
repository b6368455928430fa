//! Who in this process listens to what. A topic exists as long as somebody listens to it. An event wakes those who follow
//! its run or its organization, and nobody else: a thousand followers of one run sleep through what all other runs do.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use gantry_domain::event::Event;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::{Heard, Topic};

/// How many events a subscriber may fall behind before it hears a gap. Every topic somebody listens to keeps as many.
pub(crate) const BACKLOG: usize = 256;

const SHARDS: usize = 16;

#[derive(Default)]
struct Shard(RwLock<HashMap<Topic, broadcast::Sender<Heard>>>);

impl Shard {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Topic, broadcast::Sender<Heard>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Topic, broadcast::Sender<Heard>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subscribers of one process.
pub(crate) struct Topics {
    backlog: usize,
    hasher: RandomState,
    shards: [Shard; SHARDS],
    /// All topics of all shards, so that publishing to nobody takes no lock.
    count: AtomicUsize,
}

/// A place in a topic; the last one to go takes the topic along. The receiver goes first.
struct Subscription {
    receiver: broadcast::Receiver<Heard>,
    _place: Place,
}

struct Place {
    topic: Topic,
    /// Subscribers do not keep the bus alive.
    topics: Weak<Topics>,
}

impl Topics {
    pub(crate) fn new(backlog: usize) -> Self {
        Self { backlog, hasher: RandomState::new(), shards: Default::default(), count: AtomicUsize::new(0) }
    }

    /// How many topics somebody listens to.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn shard(&self, topic: Topic) -> &Shard {
        &self.shards[self.hasher.hash_one(topic) as usize % SHARDS]
    }

    /// Tells those who follow its run or its organization.
    pub(crate) fn tell(&self, event: &Event) {
        self.send(Topic::Run(event.organization, event.run), event);
        self.send(Topic::Organization(event.organization), event);
    }

    fn send(&self, topic: Topic, event: &Event) {
        if self.count() == 0 {
            return;
        }
        if let Some(sender) = self.shard(topic).read().get(&topic) {
            // It fails when the last subscriber is just going: nobody is left to tell.
            let _ = sender.send(Heard::Event(event.clone()));
        }
    }

    /// Tells everybody that events were missed.
    pub(crate) fn tell_gap(&self) {
        if self.count() == 0 {
            return;
        }
        for shard in &self.shards {
            for sender in shard.read().values() {
                let _ = sender.send(Heard::Gap);
            }
        }
    }

    /// Events and gaps from now on. The stream ends with the topics.
    pub(crate) fn listen(self: &Arc<Self>, topic: Topic) -> BoxStream<'static, Heard> {
        futures::stream::unfold(self.subscribe(topic), |mut subscription| async move {
            let heard = match subscription.receiver.recv().await {
                Ok(heard) => heard,
                Err(RecvError::Lagged(_)) => Heard::Gap,
                Err(RecvError::Closed) => return None,
            };
            Some((heard, subscription))
        })
        .boxed()
    }

    fn subscribe(self: &Arc<Self>, topic: Topic) -> Subscription {
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

//! The messages of one pool: in order of arrival, also those that were given back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::RunMessage;

/// Never used again, not even after its lane is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct ConsumerId(u64);

impl ConsumerId {
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One delivery of a message; the next delivery of the same message has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tag {
    consumer: ConsumerId,
    number: u64,
}

/// A message and its place in the order of arrival.
struct Waiting {
    place: u64,
    message: RunMessage,
}

#[derive(Default)]
pub(super) struct Lane {
    /// Sorted by place.
    waiting: VecDeque<Waiting>,
    in_hand: HashMap<Tag, Waiting>,
    consumers: usize,
    next_place: u64,
    next_tag: u64,
    /// Wakes one consumer per message that came or came back.
    arrival: Arc<Notify>,
}

impl Lane {
    /// Whether there was room for it.
    pub(super) fn publish(&mut self, message: RunMessage, capacity: usize) -> bool {
        if self.depth() >= capacity {
            return false;
        }
        self.waiting.push_back(Waiting { place: self.next_place, message });
        self.next_place += 1;
        self.arrival.notify_one();
        true
    }

    pub(super) fn take(&mut self, consumer: ConsumerId) -> Option<(Tag, RunMessage)> {
        let waiting = self.waiting.pop_front()?;
        let tag = Tag { consumer, number: self.next_tag };
        self.next_tag += 1;
        let message = waiting.message.clone();
        self.in_hand.insert(tag, waiting);
        Some((tag, message))
    }

    /// Whether it was still in hand.
    pub(super) fn ack(&mut self, tag: Tag) -> bool {
        self.in_hand.remove(&tag).is_some()
    }

    /// Puts a message back to its place, which is before all that arrived later.
    pub(super) fn give_back(&mut self, tag: Tag) {
        if let Some(waiting) = self.in_hand.remove(&tag) {
            let at = self.waiting.partition_point(|other| other.place < waiting.place);
            self.waiting.insert(at, waiting);
            self.arrival.notify_one();
        }
    }

    pub(super) fn join(&mut self) {
        self.consumers += 1;
    }

    /// Gives back all that a consumer has in hand.
    pub(super) fn leave(&mut self, consumer: ConsumerId) {
        let held: Vec<Tag> = self.in_hand.keys().copied().filter(|tag| tag.consumer == consumer).collect();
        held.into_iter().for_each(|tag| self.give_back(tag));
        self.consumers -= 1;
    }

    pub(super) fn depth(&self) -> usize {
        self.waiting.len() + self.in_hand.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.depth() == 0 && self.consumers == 0
    }

    pub(super) fn arrival(&self) -> Arc<Notify> {
        Arc::clone(&self.arrival)
    }

    pub(super) fn wake_all(&self) {
        self.arrival.notify_waiters();
    }
}

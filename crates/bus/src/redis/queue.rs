//! Events on their way to Redis, numbered in the order in which they were published.

use std::sync::{Arc, Mutex, PoisonError};

use gantry_domain::event::Event;
use tokio::sync::mpsc;

/// Events that may wait. What is too much is missed by other replicas, who see it by the numbers.
const ROOM: usize = 8192;

pub(super) struct Queue {
    sender: mpsc::Sender<Numbered>,
    /// The number of the last event, taken and queued under one lock: the queue's order is the numbers' order.
    last: Mutex<u64>,
}

pub(super) struct Numbered {
    pub(super) sequence: u64,
    pub(super) event: Event,
}

impl Queue {
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<Numbered>) {
        let (sender, receiver) = mpsc::channel(ROOM);
        (Arc::new(Self { sender, last: Mutex::new(0) }), receiver)
    }

    pub(super) fn push(&self, event: Event) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        if self.sender.try_send(Numbered { sequence: *last, event }).is_err() {
            metrics::counter!("gantry_bus_overflow_total").increment(1);
        }
    }

    /// The number of the last event when none waits: all before it were sent or are missed.
    pub(super) fn settled(&self, receiver: &mpsc::Receiver<Numbered>) -> Option<u64> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.is_empty().then_some(*last)
    }
}

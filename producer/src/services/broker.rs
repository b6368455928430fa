//! What this replica knows of the broker: whether dispatch waits for it, since when, and when to try it again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gantry_domain::time::Timestamp;
use gantry_queue::QueueError;

/// Between two runs that try a broker which takes no messages; each was `queued` for a moment, in vain.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// A broker that answers questions is believed to take messages again when none was tried for this long.
const BELIEVE_AFTER: Duration = Duration::from_secs(30);

const WAITS: &str = "gantry_dispatch_waits_for_broker";

/// Shared by dispatch, which finds out, and by whoever tells.
pub struct Broker(Mutex<Option<Trouble>>);

impl Default for Broker {
    /// Well, until something else is known.
    fn default() -> Self {
        metrics::describe_gauge!(WAITS, "1 while runs stay pending because the broker is away, else 0");
        metrics::gauge!(WAITS).set(0.0);
        Self(Mutex::default())
    }
}

/// Why dispatch waits for the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub since: Timestamp,
    /// It answers, but took no message when last tried at this time.
    refused_at: Option<Timestamp>,
}

impl Trouble {
    /// For anybody; what the broker said itself is in the log.
    pub fn detail(&self) -> &'static str {
        match self.refused_at {
            None => "cannot be reached",
            Some(_) => "takes no messages",
        }
    }
}

impl Broker {
    fn state(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn trouble(&self) -> Option<Trouble> {
        self.state().clone()
    }

    /// It answered a question, which does not mean that it takes messages.
    pub fn answers(&self, now: Timestamp) {
        let mut state = self.state();
        let believed = |trouble: &Trouble| {
            trouble.refused_at.is_none_or(|refused_at| now.since(refused_at) > BELIEVE_AFTER)
        };
        if state.as_ref().is_some_and(believed) {
            well(&mut state, now);
        }
    }

    /// It took a message.
    pub fn takes(&self, now: Timestamp) {
        let mut state = self.state();
        if state.is_some() {
            well(&mut state, now);
        }
    }

    /// A question was not answered.
    pub fn unreachable(&self, error: &QueueError, now: Timestamp) {
        self.ill(error, now, None);
    }

    /// A message was not taken.
    pub fn refuses(&self, error: &QueueError, now: Timestamp) {
        self.ill(error, now, Some(now));
    }

    fn ill(&self, error: &QueueError, now: Timestamp, refused_at: Option<Timestamp>) {
        let mut state = self.state();
        if state.is_none() {
            tracing::warn!(%error, "dispatch waits for the broker");
            metrics::gauge!(WAITS).set(1.0);
        }
        let since = state.as_ref().map_or(now, |trouble| trouble.since);
        *state = Some(Trouble { since, refused_at });
    }

    /// How many runs may be taken on now: while it is in doubt whether it takes messages, one every now and then.
    pub fn allows(&self, wanted: u64, now: Timestamp) -> u64 {
        match self.state().as_ref().and_then(|trouble| trouble.refused_at) {
            None => wanted,
            Some(refused_at) if now.since(refused_at) >= TRY_AGAIN_AFTER => wanted.min(1),
            Some(_) => 0,
        }
    }
}

fn well(state: &mut Option<Trouble>, now: Timestamp) {
    if let Some(trouble) = state.take() {
        tracing::info!(
            after_seconds = now.since(trouble.since).as_secs(),
            "the broker is back: dispatch goes on"
        );
        metrics::gauge!(WAITS).set(0.0);
    }
}

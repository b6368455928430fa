//! How far each other replica was heard. A hole in its count is a gap; a replica that falls silent without a farewell is
//! cut off from Redis, or dead, and what it does meanwhile is only in the store.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Without a beat for this long, a replica's events are being missed.
const SILENT_AFTER: Duration = Duration::from_secs(3);
/// A replica that was silent for this long is gone: its runs are changed by others now.
const GONE_AFTER: Duration = Duration::from_secs(30);

/// The other replicas.
#[derive(Debug, Default)]
pub(super) struct Origins(HashMap<u64, Origin>);

#[derive(Debug)]
struct Origin {
    /// The last of its events that was heard.
    sequence: u64,
    at: Instant,
}

/// What a message tells beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Next,
    /// Events before it were missed.
    AfterGap,
    /// Heard before.
    Old,
}

impl Origins {
    /// Event number `sequence` of this origin was heard.
    pub(super) fn event(&mut self, origin: u64, sequence: u64) -> Place {
        let known = self.heard(origin);
        let place = match sequence {
            old if old <= known.sequence => return Place::Old,
            next if next == known.sequence + 1 => Place::Next,
            _ => Place::AfterGap,
        };
        known.sequence = sequence;
        place
    }

    /// A beat was heard: the origin has told everything up to event `sequence`.
    pub(super) fn beat(&mut self, origin: u64, sequence: u64) -> Place {
        let known = self.heard(origin);
        if known.sequence >= sequence {
            return Place::Next;
        }
        known.sequence = sequence;
        Place::AfterGap
    }

    pub(super) fn farewell(&mut self, origin: u64) {
        self.0.remove(&origin);
    }

    /// Whether events are being missed now; forgets who is gone.
    pub(super) fn is_one_silent(&mut self, now: Instant) -> bool {
        self.0.retain(|_, origin| now - origin.at < GONE_AFTER);
        self.0.values().any(|origin| now - origin.at > SILENT_AFTER)
    }

    /// Silence before this moment was our own.
    pub(super) fn reconnected(&mut self, now: Instant) {
        self.0.values_mut().for_each(|origin| origin.at = now);
    }

    /// Of a replica that is met for the first time nothing was heard yet, whatever it says it told.
    fn heard(&mut self, origin: u64) -> &mut Origin {
        let now = Instant::now();
        let known = self.0.entry(origin).or_insert(Origin { sequence: 0, at: now });
        known.at = now;
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hole_in_the_count_is_a_gap() {
        let (mut origins, one, other) = (Origins::default(), 1, 2);
        assert_eq!(origins.event(one, 1), Place::Next);
        assert_eq!(origins.event(one, 2), Place::Next);
        assert_eq!(origins.event(other, 1), Place::Next, "every origin has its own count");
        assert_eq!(origins.event(one, 2), Place::Old);
        assert_eq!(origins.event(one, 5), Place::AfterGap);
        assert_eq!(origins.event(one, 6), Place::Next);
        assert_eq!(origins.beat(one, 6), Place::Next);
        assert_eq!(origins.beat(one, 8), Place::AfterGap);
        assert_eq!(origins.beat(one, 8), Place::Next);
        assert_eq!(origins.event(one, 9), Place::Next);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_newcomer_told_before_it_was_heard_was_missed() {
        let mut origins = Origins::default();
        assert_eq!(origins.beat(1, 0), Place::Next);
        assert_eq!(origins.beat(2, 3), Place::AfterGap);
        assert_eq!(origins.event(3, 3), Place::AfterGap);
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_falls_silent_is_missed_until_it_is_gone() {
        let (mut origins, one) = (Origins::default(), 1);
        let silent_after = |origins: &mut Origins, wait| {
            let now = Instant::now() + wait;
            origins.is_one_silent(now)
        };
        origins.beat(one, 0);
        assert!(!silent_after(&mut origins, SILENT_AFTER));
        assert!(silent_after(&mut origins, SILENT_AFTER * 2));
        assert!(!silent_after(&mut origins, GONE_AFTER));
        origins.beat(one, 0);
        origins.farewell(one);
        assert!(!silent_after(&mut origins, SILENT_AFTER * 2));
        origins.beat(one, 0);
        origins.reconnected(Instant::now() + SILENT_AFTER);
        assert!(!silent_after(&mut origins, SILENT_AFTER * 2));
    }
}

//! Limits of one process, in bounded memory.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use gantry_domain::time::Clock;

use crate::gcra::decide;
use crate::{Decision, Limit, LimitKey, Limiter};

/// Subjects that are remembered at once: about ten megabytes.
const CAPACITY: usize = 100_000;

/// Counts what this process sees.
pub struct LocalLimiter {
    clock: Arc<dyn Clock>,
    capacity: usize,
    /// When each subject's burst is whole again, in microseconds. Who is not in here has all of it.
    full_at: Mutex<HashMap<LimitKey, u64>>,
}

impl LocalLimiter {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_capacity(clock, CAPACITY)
    }

    /// One that remembers `capacity` subjects at once; beyond that those who used least of their limit are forgotten.
    pub fn with_capacity(clock: Arc<dyn Clock>, capacity: usize) -> Self {
        Self { clock, capacity: capacity.max(1), full_at: Mutex::default() }
    }

    fn decide(&self, key: &LimitKey, limit: Limit, cost: NonZeroU32) -> Decision {
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or(0).saturating_mul(1000);
        let mut all = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let (decision, next) = decide(all.get(key).copied(), now, limit, cost);
        if let Some(next) = next {
            if all.len() >= self.capacity && !all.contains_key(key) {
                make_room(&mut all, now, self.capacity);
            }
            all.insert(*key, next);
        }
        decision
    }
}

/// Forgets whose burst is whole again, and a tenth if that does not help.
fn make_room(all: &mut HashMap<LimitKey, u64>, now: u64, capacity: usize) {
    all.retain(|_, full_at| *full_at > now);
    let keep = capacity - (capacity / 10).max(1);
    if all.len() > keep {
        let mut times: Vec<u64> = all.values().copied().collect();
        let excess = times.len() - keep;
        let (_, bound, _) = times.select_nth_unstable(excess - 1);
        let bound = *bound;
        all.retain(|_, full_at| *full_at > bound);
    }
}

impl fmt::Debug for LocalLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalLimiter").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[async_trait]
impl Limiter for LocalLimiter {
    async fn check(&self, key: &LimitKey, limit: Limit, cost: NonZeroU32) -> Decision {
        self.decide(key, limit, cost)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gantry_domain::id::OrganizationId;
    use gantry_domain::time::{ManualClock, Timestamp};

    use super::*;
    use crate::contract::{Subject, limit};

    struct Local {
        limiter: LocalLimiter,
        clock: ManualClock,
    }

    #[async_trait]
    impl Subject for Local {
        fn limiter(&self) -> &dyn Limiter {
            &self.limiter
        }

        async fn pass(&self, time: Duration) {
            self.clock.advance(time);
        }
    }

    fn with_capacity(capacity: usize) -> Local {
        let clock = ManualClock::at(Timestamp::from_millis(1_000_000));
        Local { limiter: LocalLimiter::with_capacity(Arc::new(clock.clone()), capacity), clock }
    }

    async fn start() -> Local {
        with_capacity(CAPACITY)
    }

    crate::contract::contract!(local: super::start);

    fn somebody() -> LimitKey {
        LimitKey::Organization(OrganizationId::new())
    }

    #[tokio::test]
    async fn memory_is_bounded_and_the_busiest_stay_known() {
        let local = with_capacity(100);
        let (busy, limit) = (somebody(), limit(5, Duration::from_secs(10)));
        while local.limiter.check(&busy, limit, NonZeroU32::MIN).await.allowed {}
        for _ in 0..1_000 {
            assert!(local.limiter.check(&somebody(), limit, NonZeroU32::MIN).await.allowed);
            assert!(local.limiter.full_at.lock().unwrap().len() <= 100);
        }
        assert!(!local.limiter.check(&busy, limit, NonZeroU32::MIN).await.allowed);
    }

    #[tokio::test]
    async fn who_has_all_of_its_burst_again_is_forgotten_first() {
        let local = with_capacity(10);
        let limit = limit(1, Duration::from_secs(10));
        let lasting = somebody();
        for _ in 0..9 {
            local.limiter.check(&somebody(), limit, NonZeroU32::MIN).await;
        }
        local.clock.advance(Duration::from_secs(9));
        local.limiter.check(&lasting, limit, NonZeroU32::MIN).await;
        local.clock.advance(Duration::from_secs(2));
        local.limiter.check(&somebody(), limit, NonZeroU32::MIN).await;
        assert_eq!(local.limiter.full_at.lock().unwrap().len(), 2);
        assert!(!local.limiter.check(&lasting, limit, NonZeroU32::MIN).await.allowed);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_locks_nobody_out_for_longer_than_a_burst() {
        let local = with_capacity(10);
        let (key, limit) = (somebody(), limit(2, Duration::from_secs(1)));
        local.clock.advance(Duration::from_secs(24 * 3600));
        while local.limiter.check(&key, limit, NonZeroU32::MIN).await.allowed {}
        let earlier = ManualClock::at(Timestamp::from_millis(1_000_000));
        let known = std::mem::take(&mut *local.limiter.full_at.lock().unwrap());
        let after =
            LocalLimiter { clock: Arc::new(earlier.clone()), capacity: 10, full_at: Mutex::new(known) };
        assert!(!after.check(&key, limit, NonZeroU32::MIN).await.allowed);
        earlier.advance(Duration::from_secs(1));
        assert!(after.check(&key, limit, NonZeroU32::MIN).await.allowed);
    }
}

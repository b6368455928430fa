//! What the last look at a pool left: how many messages its queue still has room for while no run waits for one, so that a
//! run accepted now can go straight to the queue. One replica's estimate: it ends as soon as a run waits here, and is made
//! anew by every look.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gantry_domain::spec::Pool;
use tokio::time::Instant;

/// Where nothing waited, a worker that gets free is no reason to look again for this long: runs that other replicas
/// accepted meanwhile are found a moment later.
const HOLDS: Duration = Duration::from_millis(250);

#[derive(Default)]
pub struct Room(Mutex<HashMap<Pool, Look>>);

struct Look {
    at: Instant,
    left: u64,
    /// A run waits, or nobody knows.
    waiting: bool,
}

impl Room {
    /// Takes one message's room; `false` when the run has to wait for its turn.
    pub fn take(&self, pool: &Pool) -> bool {
        let mut looks = self.looks();
        let Some(look) = looks.get_mut(pool).filter(|look| look.left > 0) else { return false };
        look.left -= 1;
        true
    }

    /// A run waits for its turn.
    pub fn waits(&self, pool: &Pool) {
        if let Some(look) = self.looks().get_mut(pool) {
            (look.left, look.waiting) = (0, true);
        }
    }

    /// A look begins: what waits from now on it may miss.
    pub fn look_begins(&self, pool: &Pool) {
        self.looks().insert(pool.clone(), Look { at: Instant::now(), left: 0, waiting: false });
    }

    /// A look ended: it left room for so many, and runs that wait or not.
    pub fn looked(&self, pool: &Pool, left: u64, waiting: bool) {
        if let Some(look) = self.looks().get_mut(pool) {
            look.waiting |= waiting;
            look.left = if look.waiting { 0 } else { left };
        }
    }

    /// For how long there is no reason to look again, if there is none now.
    pub fn settled_for(&self, pool: &Pool) -> Option<Duration> {
        let looks = self.looks();
        let look = looks.get(pool).filter(|look| !look.waiting)?;
        HOLDS.checked_sub(look.at.elapsed()).filter(|left| !left.is_zero())
    }

    fn looks(&self) -> MutexGuard<'_, HashMap<Pool, Look>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(left: u64, waiting: bool) -> (Room, Pool) {
        let (room, pool) = (Room::default(), Pool::default());
        room.look_begins(&pool);
        room.looked(&pool, left, waiting);
        (room, pool)
    }

    #[tokio::test]
    async fn only_what_a_look_left_can_be_taken() {
        let (room, pool) = looked(2, false);
        assert_eq!([room.take(&pool), room.take(&pool), room.take(&pool)], [true, true, false]);
        assert!(!Room::default().take(&pool), "nobody looked");
        let (room, pool) = looked(2, true);
        assert!(!room.take(&pool), "others go first");
    }

    #[tokio::test]
    async fn a_run_that_waits_ends_it_even_during_a_look() {
        let (room, pool) = looked(2, false);
        room.waits(&pool);
        assert!(!room.take(&pool));
        assert_eq!(room.settled_for(&pool), None);
        room.look_begins(&pool);
        room.waits(&pool);
        room.looked(&pool, 2, false);
        assert!(!room.take(&pool));
        assert_eq!(room.settled_for(&pool), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_left_nothing_waiting_holds_for_a_moment() {
        let (room, pool) = looked(0, false);
        assert_eq!(room.settled_for(&pool), Some(HOLDS));
        tokio::time::advance(HOLDS).await;
        assert_eq!(room.settled_for(&pool), None);
        assert_eq!(looked(0, true).0.settled_for(&Pool::default()), None);
    }
}

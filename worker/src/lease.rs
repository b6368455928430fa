//! The leases this worker holds: who may still write to its run, and what each was told from outside.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gantry_api_types::worker::HeldLease;
use gantry_domain::id::RunId;
use gantry_domain::run::LeaseToken;
use gantry_executor::AttemptKey;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// What an attempt was told from outside; only ever gets worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    Continue,
    /// Somebody wants the run to end.
    Cancel,
    /// The lease is over, or may be: nothing may be reported any more.
    Lost,
}

/// All leases of the worker.
#[derive(Debug)]
pub(crate) struct Leases {
    inner: Mutex<Inner>,
    /// The fence must be looked at earlier than planned.
    earlier: Notify,
}

#[derive(Debug)]
struct Inner {
    held: HashMap<AttemptKey, Held>,
    fence: Duration,
    /// When the fence is looked at next.
    planned: Instant,
}

#[derive(Debug)]
struct Held {
    token: LeaseToken,
    /// When the last answered call that renewed it was *sent*.
    renewed_at: Instant,
    signal: watch::Sender<Signal>,
}

/// The right of one attempt to write to its run; given up when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pub key: AttemptKey,
    pub token: LeaseToken,
    leases: Arc<Leases>,
    signal: watch::Receiver<Signal>,
}

impl Leases {
    pub fn new() -> Arc<Self> {
        let far = Duration::from_secs(3600);
        let inner = Inner { held: HashMap::new(), fence: far, planned: Instant::now() + far };
        Arc::new(Self { inner: Mutex::new(inner), earlier: Notify::new() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_fence(&self, fence: Duration) {
        self.inner().fence = fence;
        self.earlier.notify_one();
    }

    /// Takes up a lease that was granted in answer to a claim sent at `asked_at`; `None` when this attempt is going on
    /// here already.
    pub fn take_up(self: &Arc<Self>, key: AttemptKey, token: LeaseToken, asked_at: Instant) -> Option<Lease> {
        let mut inner = self.inner();
        if inner.held.contains_key(&key) {
            return None;
        }
        let (sender, signal) = watch::channel(Signal::Continue);
        inner.held.insert(key, Held { token: token.clone(), renewed_at: asked_at, signal: sender });
        if asked_at + inner.fence < inner.planned {
            self.earlier.notify_one();
        }
        Some(Lease { key, token, leases: Arc::clone(self), signal })
    }

    /// What a heartbeat names: not what was given up, for which nobody would report an end.
    pub fn held(&self) -> Vec<HeldLease> {
        let held = |(key, held): (&AttemptKey, &Held)| HeldLease {
            run: key.run,
            attempt: key.attempt,
            token: held.token.clone(),
        };
        let inner = self.inner();
        let goes_on = |(_, held): &(&AttemptKey, &Held)| *held.signal.borrow() < Signal::Lost;
        inner.held.iter().filter(goes_on).map(held).collect()
    }

    pub fn is_held(&self, key: AttemptKey) -> bool {
        self.inner().held.contains_key(&key)
    }

    /// A heartbeat sent at `sent_at` was answered: this lease goes on.
    pub fn renew(&self, lease: &HeldLease, sent_at: Instant) {
        if let Some(held) = self.inner().current(lease) {
            held.renewed_at = held.renewed_at.max(sent_at);
        }
    }

    /// Tells the attempt that holds exactly this lease.
    pub fn signal(&self, lease: &HeldLease, signal: Signal) {
        if let Some(held) = self.inner().current(lease) {
            held.raise(signal);
        }
    }

    /// Tells an attempt by its number; used by those who don't know its token.
    pub fn signal_attempt(&self, run: RunId, attempt: u32, signal: Signal) {
        if let Some(held) = self.inner().held.get(&AttemptKey { run, attempt }) {
            held.raise(signal);
        }
    }

    /// Ends what may no longer be ours: leases whose last answered renewal is too long ago. Never returns.
    pub async fn guard_fence(&self) {
        loop {
            let next = self.fence_overdue(Instant::now());
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.earlier.notified() => {}
            }
        }
    }

    fn fence_overdue(&self, now: Instant) -> Instant {
        let mut inner = self.inner();
        let fence = inner.fence;
        let mut next = now + fence;
        for (key, held) in &inner.held {
            let due = held.renewed_at + fence;
            if due > now {
                next = next.min(due);
            } else if *held.signal.borrow() < Signal::Lost {
                tracing::warn!(run.id = %key.run, "no heartbeat was answered in time: ending the attempt");
                held.raise(Signal::Lost);
            }
        }
        inner.planned = next;
        next
    }
}

impl Inner {
    fn current(&mut self, lease: &HeldLease) -> Option<&mut Held> {
        let key = AttemptKey { run: lease.run, attempt: lease.attempt };
        self.held.get_mut(&key).filter(|held| held.token == lease.token)
    }
}

impl Held {
    fn raise(&self, signal: Signal) {
        self.signal.send_if_modified(|now| {
            let worse = signal > *now;
            if worse {
                *now = signal;
            }
            worse
        });
    }
}

impl Lease {
    #[cfg(test)]
    fn signal(&self) -> Signal {
        *self.signal.borrow()
    }

    /// Resolves once it was told `signal` or worse, with what it was told.
    pub async fn told(&self, signal: Signal) -> Signal {
        let mut receiver = self.signal.clone();
        let told = receiver.wait_for(|told| *told >= signal).await.map(|told| *told);
        // The sender lives as long as this lease.
        told.unwrap_or(Signal::Lost)
    }

    /// Lets another task of the same attempt say that a call was answered with "stale".
    pub fn loser(&self) -> impl Fn() + Send + Sync + 'static {
        let (leases, key, token) = (Arc::clone(&self.leases), self.key, self.token.clone());
        move || {
            let lease = HeldLease { run: key.run, attempt: key.attempt, token: token.clone() };
            leases.signal(&lease, Signal::Lost);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.inner().held.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AttemptKey {
        AttemptKey { run: RunId::new(), attempt: 1 }
    }

    fn token() -> LeaseToken {
        LeaseToken::from_bits(7)
    }

    #[tokio::test]
    async fn signals_only_get_worse() {
        let leases = Leases::new();
        let lease = leases.take_up(key(), token(), Instant::now()).unwrap();
        leases.signal_attempt(lease.key.run, 1, Signal::Lost);
        leases.signal_attempt(lease.key.run, 1, Signal::Cancel);
        assert_eq!(lease.told(Signal::Cancel).await, Signal::Lost);
    }

    #[tokio::test]
    async fn an_attempt_that_goes_on_here_is_not_taken_up_twice() {
        let leases = Leases::new();
        let lease = leases.take_up(key(), token(), Instant::now()).unwrap();
        assert!(leases.take_up(lease.key, token(), Instant::now()).is_none());
        let key = lease.key;
        drop(lease);
        assert!(leases.take_up(key, token(), Instant::now()).is_some());
    }

    #[tokio::test]
    async fn an_answer_about_an_older_lease_concerns_nobody() {
        let leases = Leases::new();
        let lease = leases.take_up(key(), token(), Instant::now()).unwrap();
        let older = HeldLease { run: lease.key.run, attempt: 1, token: LeaseToken::from_bits(8) };
        leases.signal(&older, Signal::Lost);
        assert_eq!(lease.signal(), Signal::Continue);
    }

    #[tokio::test]
    async fn what_was_given_up_is_not_renewed_while_it_is_removed() {
        let leases = Leases::new();
        let (given_up, goes_on) = (
            leases.take_up(key(), token(), Instant::now()).unwrap(),
            leases.take_up(key(), token(), Instant::now()).unwrap(),
        );
        leases.signal_attempt(given_up.key.run, 1, Signal::Lost);
        leases.signal_attempt(goes_on.key.run, 1, Signal::Cancel);
        let held: Vec<_> = leases.held().into_iter().map(|held| held.run).collect();
        assert_eq!(held, [goes_on.key.run], "a cancelled one still reports its end");
        assert!(leases.is_held(given_up.key), "its remains are nobody else's");
    }

    #[tokio::test(start_paused = true)]
    async fn the_fence_counts_from_when_the_answered_call_was_sent() {
        let leases = Leases::new();
        leases.set_fence(Duration::from_secs(40));
        let guard = Arc::clone(&leases);
        let _guard =
            tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move { guard.guard_fence().await }));
        let start = Instant::now();
        let lease = leases.take_up(key(), token(), start).unwrap();
        let held = leases.held().remove(0);

        tokio::time::sleep(Duration::from_secs(12)).await;
        // Sent at 10 s, answered now.
        leases.renew(&held, start + Duration::from_secs(10));
        assert_eq!(lease.told(Signal::Lost).await, Signal::Lost);
        let lost_after = start.elapsed();
        assert!(
            lost_after >= Duration::from_secs(50) && lost_after < Duration::from_millis(50_100),
            "{lost_after:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_was_answered_late_is_fenced_from_when_it_was_sent() {
        let leases = Leases::new();
        leases.set_fence(Duration::from_secs(40));
        let guard = Arc::clone(&leases);
        let _guard =
            tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move { guard.guard_fence().await }));
        let start = Instant::now();
        tokio::time::sleep(Duration::from_secs(15)).await;
        let lease = leases.take_up(key(), token(), start).unwrap();
        lease.told(Signal::Lost).await;
        assert!(start.elapsed() < Duration::from_millis(40_100), "{:?}", start.elapsed());
    }
}

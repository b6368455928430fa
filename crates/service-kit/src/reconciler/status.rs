//! What operators can see of reconcilers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Outcome, Reconciler};

/// One reconciler at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub name: &'static str,
    pub period: Duration,
    /// A pass runs right now.
    pub running: bool,
    /// Passes since the process started, failed ones included.
    pub runs: u64,
    pub last_started: Option<SystemTime>,
    /// Of the last pass that ended.
    pub last_duration: Option<Duration>,
    /// Of the last pass that ended: `did 3`, `idle`, or `failed: …`.
    pub last_outcome: Option<String>,
    pub consecutive_failures: u32,
}

/// The live view that [`super::Reconcilers::statuses`] gives out; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Statuses(Arc<Mutex<BTreeMap<&'static str, Status>>>);

impl Statuses {
    /// All of them, ordered by name.
    pub fn snapshot(&self) -> Vec<Status> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn register(&self, reconciler: &dyn Reconciler) {
        let name = reconciler.name();
        let status = Status {
            name,
            period: reconciler.period(),
            running: false,
            runs: 0,
            last_started: None,
            last_duration: None,
            last_outcome: None,
            consecutive_failures: 0,
        };
        self.lock().insert(name, status);
    }

    pub(super) fn started(&self, name: &'static str) {
        if let Some(status) = self.lock().get_mut(name) {
            status.running = true;
            status.last_started = Some(SystemTime::now());
        }
    }

    /// Records the end of a pass; returns the failures in a row, this one included.
    pub(super) fn ended(&self, name: &'static str, took: Duration, result: Result<&Outcome, &str>) -> u32 {
        let mut statuses = self.lock();
        let Some(status) = statuses.get_mut(name) else { return 0 };
        status.running = false;
        status.runs += 1;
        status.last_duration = Some(took);
        let text = match result {
            Ok(Outcome { did: 0, .. }) => "idle".to_owned(),
            Ok(outcome) => format!("did {}", outcome.did),
            Err(error) => format!("failed: {error}"),
        };
        status.last_outcome = Some(text);
        status.consecutive_failures = match result {
            Ok(_) => 0,
            Err(_) => status.consecutive_failures.saturating_add(1),
        };
        status.consecutive_failures
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Status>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

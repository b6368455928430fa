//! What this process knows of the attempts it carries out, and the order of calls. The engine knows the rest: containers
//! have names that follow from the key.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures::future::{BoxFuture, Shared};

use super::engine::EngineFailure;
use super::output::OutputCut;
use crate::{AttemptKey, ExecutorError, Exit};

/// A request to create a container that goes on when the caller of `prepare` does not.
pub(super) type Creation = Shared<BoxFuture<'static, Result<(), EngineFailure>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Preparing,
    Prepared,
    Starting,
    Started,
}

/// How a container ended and where relative paths begin in it.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub exit: Exit,
    pub working_dir: String,
}

#[derive(Clone)]
pub(super) struct Attempt {
    pub phase: Phase,
    pub slot: u32,
    pub program: String,
    pub creation: Option<Creation>,
    pub output: Option<OutputCut>,
    pub ended: Option<Ended>,
}

#[derive(Default)]
pub(super) struct Attempts(Mutex<HashMap<AttemptKey, Attempt>>);

impl Attempts {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<AttemptKey, Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, key: AttemptKey, slot: u32, program: String) -> Result<(), ExecutorError> {
        let mut attempts = self.lock();
        if attempts.contains_key(&key) {
            return Err(ExecutorError::CallOrder("prepare was called twice".to_owned()));
        }
        let attempt =
            Attempt { phase: Phase::Preparing, slot, program, creation: None, output: None, ended: None };
        attempts.insert(key, attempt);
        Ok(())
    }

    pub fn get(&self, key: AttemptKey) -> Option<Attempt> {
        self.lock().get(&key).cloned()
    }

    pub fn update(&self, key: AttemptKey, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.lock().get_mut(&key) {
            change(attempt);
        }
    }

    /// Goes from one phase to the next; any other phase is a wrong order of calls.
    pub fn advance(
        &self,
        key: AttemptKey,
        from: Phase,
        to: Phase,
        call: &str,
    ) -> Result<Attempt, ExecutorError> {
        let mut attempts = self.lock();
        match attempts.get_mut(&key) {
            Some(attempt) if attempt.phase == from => {
                attempt.phase = to;
                Ok(attempt.clone())
            }
            Some(attempt) => {
                Err(ExecutorError::CallOrder(format!("{call} was called while {:?}", attempt.phase)))
            }
            None => Err(ExecutorError::CallOrder(format!("{call} was called before prepare"))),
        }
    }

    /// The attempt, if its command was started.
    pub fn started(&self, key: AttemptKey, call: &str) -> Result<Attempt, ExecutorError> {
        self.get(key)
            .filter(|attempt| attempt.phase == Phase::Started)
            .ok_or_else(|| ExecutorError::CallOrder(format!("{call} was called before start")))
    }

    pub fn forget(&self, key: AttemptKey) {
        self.lock().remove(&key);
    }
}

//! When the producer last answered, for those who ask how the worker is.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The last sign of the producer.
#[derive(Debug, Default)]
pub struct Contact(Mutex<Option<Instant>>);

impl Contact {
    pub(crate) fn answered(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long ago it answered; `None` before it ever did.
    pub fn silent_for(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }
}

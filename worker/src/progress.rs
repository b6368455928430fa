//! What an executor says while it prepares, on its way into the run's log.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use gantry_executor::Progress;
use tokio::sync::Notify;

/// Lines an executor says while it prepares, until the attempt writes them to its log. Bounded: an executor that says
/// too much loses the newest lines.
#[derive(Debug, Default)]
pub(crate) struct ProgressLines {
    lines: Mutex<VecDeque<String>>,
    came: Notify,
}

const PROGRESS_LINES: usize = 256;

impl Progress for ProgressLines {
    fn line(&self, text: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < PROGRESS_LINES {
            lines.push_back(text);
            self.came.notify_one();
        }
    }
}

impl ProgressLines {
    pub fn take(&self) -> Option<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Cancelling it loses nothing.
    pub async fn next(&self) -> String {
        loop {
            if let Some(line) = self.take() {
                return line;
            }
            self.came.notified().await;
        }
    }
}

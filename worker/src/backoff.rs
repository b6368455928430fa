//! Pauses between tries.

use std::time::Duration;

use crate::producer::ProducerError;

/// Doubling pauses with jitter, so that workers that lost the same producer come back spread out.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub fn new() -> Self {
        Self { next: Duration::from_millis(100), max: Duration::from_secs(5) }
    }

    pub fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.max);
        pause
    }

    pub async fn wait(&mut self) {
        tokio::time::sleep(self.pause()).await;
    }

    /// At least as long as the producer asked for.
    pub async fn wait_after(&mut self, error: &ProducerError) {
        let asked = match error {
            ProducerError::Retry { after, .. } => after.unwrap_or_default().min(Duration::from_secs(30)),
            _ => Duration::ZERO,
        };
        tokio::time::sleep(self.pause().max(asked)).await;
    }
}

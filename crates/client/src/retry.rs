//! Trying again, for callers that know their call may be repeated.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::ClientError;

/// How long to wait between tries: doubling, with jitter, at least as long as the server asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    pub initial: Duration,
    pub max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { initial: Duration::from_millis(100), max: Duration::from_secs(5) }
    }
}

impl RetryPolicy {
    /// The pause after `failures` (1 or more) in a row: between half of it and all of it, so that clients spread out.
    pub(crate) fn pause(self, failures: u32) -> Duration {
        let doubled =
            self.initial.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.max).mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Repeats `call` while its errors are retryable and the next try would begin before `deadline`; the last error otherwise.
/// It does not cut a call short: calls have their own bounds.
pub async fn retry<T, F, Fut>(policy: RetryPolicy, deadline: Instant, mut call: F) -> Result<T, ClientError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, ClientError>>,
{
    let mut failures = 0;
    loop {
        let error = match call().await {
            Ok(done) => return Ok(done),
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        failures += 1;
        let pause = policy.pause(failures).max(error.retry_after().unwrap_or_default());
        if Instant::now() + pause >= deadline {
            return Err(error);
        }
        tracing::debug!(%error, failures, ?pause, "trying again");
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::TransportError;

    fn broken() -> ClientError {
        TransportError::Broken("gone".into()).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_retryable_error_is_tried_again_until_it_succeeds() {
        let calls = Cell::new(0);
        let deadline = Instant::now() + Duration::from_secs(60);
        let answer = retry(RetryPolicy::default(), deadline, || async {
            calls.set(calls.get() + 1);
            if calls.get() < 5 { Err(broken()) } else { Ok(calls.get()) }
        });
        assert_eq!(answer.await.unwrap(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_it_with_the_last_error() {
        let start = Instant::now();
        let deadline = start + Duration::from_secs(3);
        let answer: Result<(), _> = retry(RetryPolicy::default(), deadline, || async { Err(broken()) }).await;
        assert!(answer.is_err() && Instant::now() < deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final() {
        let calls = Cell::new(0);
        let deadline = Instant::now() + Duration::from_secs(60);
        let answer: Result<(), _> = retry(RetryPolicy::default(), deadline, || async {
            calls.set(calls.get() + 1);
            Err(ClientError::protocol(Some(http::StatusCode::FORBIDDEN), "no"))
        })
        .await;
        assert!(answer.is_err());
        assert_eq!(calls.get(), 1);
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        let policy = RetryPolicy::default();
        for failures in 1..100 {
            assert!(policy.pause(failures) <= policy.max && policy.pause(failures) >= policy.initial / 2);
        }
    }
}

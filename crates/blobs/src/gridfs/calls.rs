//! Calls with an end: every try is bounded, what may pass is tried again, and the whole has a deadline. Everything sent
//! through here is safe to send twice.

use std::time::Duration;

use mongodb::error::Error;
use tokio::time::{Instant, timeout_at};

use super::error::{is_duplicate, passes, refused};
use crate::BlobError;

/// One try: a connection that swallows everything must leave time for another one.
const TRY: Duration = Duration::from_secs(4);
/// A whole call, tries included.
const CALL: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// Tries until something definite comes back or the time is over.
pub(super) async fn call<T, F>(mut attempt: impl FnMut() -> F + Send) -> Result<T, BlobError>
where
    F: Future<Output = Result<T, Error>> + Send,
{
    let until = Instant::now() + CALL;
    let mut pause = FIRST_PAUSE;
    loop {
        let failed = match timeout_at(until.min(Instant::now() + TRY), attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if passes(&error) => refused(&error),
            Ok(Err(error)) => return Err(refused(&error)),
            Err(_) => BlobError::Unavailable("the server does not answer in time".to_owned()),
        };
        // Spread out: whoever failed together should not come back together.
        let wait = pause.mul_f64(rand::random_range(0.5..1.5));
        if Instant::now() + wait >= until {
            return Err(failed);
        }
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Inserts; false when it, or something in its place, is there already.
pub(super) async fn insert<F, T>(mut attempt: impl FnMut() -> F + Send) -> Result<bool, BlobError>
where
    F: Future<Output = Result<T, Error>> + Send,
{
    let inserted = || {
        let attempted = attempt();
        async {
            match attempted.await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate(&error) => Ok(false),
                Err(error) => Err(error),
            }
        }
    };
    call(inserted).await
}

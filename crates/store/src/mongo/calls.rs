//! Calls with an end: every try is bounded, what may pass is tried again, and the whole has a deadline. Everything sent
//! through here is safe to send twice.

use std::time::Duration;

use mongodb::Cursor;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::WriteConcern;
use tokio::time::Instant;

use super::Core;
use super::errors::{Fault, code_passes, fault, of_code, passes};
use crate::StoreError;

/// One try: a connection that swallows everything must leave time for another one.
const TRY: Duration = Duration::from_millis(2500);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// One call of the store with its deadline.
#[derive(Clone, Copy)]
pub(super) struct Call {
    until: Instant,
}

/// What came back, and whether an earlier try may have had its effect already.
pub(super) struct Answer<T> {
    pub value: T,
    pub tried_before: bool,
}

fn silent() -> Fault {
    Fault::Store(StoreError::Unavailable("the server does not answer in time".to_owned()))
}

impl Core {
    pub fn call(&self) -> Call {
        Call { until: Instant::now() + self.patience }
    }
}

impl Call {
    /// Tries until something definite comes back or the time is over.
    pub async fn run<T, F>(self, attempt: impl FnMut() -> F + Send) -> Result<T, Fault>
    where
        F: Future<Output = mongodb::error::Result<T>> + Send,
    {
        self.answer(attempt).await.map(|answer| answer.value)
    }

    pub async fn answer<T, F>(self, mut attempt: impl FnMut() -> F + Send) -> Result<Answer<T>, Fault>
    where
        F: Future<Output = mongodb::error::Result<T>> + Send,
    {
        let (mut pause, mut tried_before) = (FIRST_PAUSE, false);
        loop {
            let end = self.until.min(Instant::now() + TRY);
            let failed = match tokio::time::timeout_at(end, attempt()).await {
                Ok(Ok(value)) => return Ok(Answer { value, tried_before }),
                Ok(Err(error)) if passes(&error) => fault(&error),
                Ok(Err(error)) => return Err(fault(&error)),
                Err(_) => silent(),
            };
            tried_before = true;
            if !self.waits(&mut pause).await {
                return Err(failed);
            }
        }
    }

    /// Waits before another try, longer each time; false when there is no time for one.
    async fn waits(self, pause: &mut Duration) -> bool {
        metrics::counter!("gantry_store_retries_total").increment(1);
        // Spread out: whoever failed together should not come back together.
        let wait = pause.mul_f64(rand::random_range(0.5..1.5));
        if Instant::now() + wait >= self.until {
            return false;
        }
        tokio::time::sleep(wait).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        true
    }

    /// Every document of a query, until `enough` says so.
    pub async fn all<F>(
        self,
        query: impl Fn() -> F + Send + Sync,
        enough: impl Fn(&[RawDocumentBuf]) -> bool + Send + Sync,
    ) -> Result<Vec<RawDocumentBuf>, Fault>
    where
        F: Future<Output = mongodb::error::Result<Cursor<RawDocumentBuf>>> + Send,
    {
        self.run(|| async {
            let mut cursor = query().await?;
            let mut found = Vec::new();
            while !enough(&found) && cursor.advance().await? {
                found.push(cursor.current().to_owned());
            }
            Ok(found)
        })
        .await
    }
}

/// One statement of an update command.
pub(super) struct Statement {
    pub filter: Document,
    pub update: Document,
}

/// What came of several statements.
pub(super) struct Updated {
    /// How many found their document, together.
    pub matched: u64,
    /// Those that failed, by position.
    pub failed: Vec<(usize, Fault)>,
    /// Whether some may have had their effect in an earlier try, and so found nothing in this one.
    pub tried_before: bool,
}

impl Core {
    /// Several updates in one command, in any order; each changes one document at most.
    pub async fn update(
        &self,
        call: &Call,
        collection: &str,
        statements: &[Statement],
        concern: &WriteConcern,
    ) -> Result<Updated, Fault> {
        let updates: Vec<Bson> = statements
            .iter()
            .map(|statement| doc! { "q": &statement.filter, "u": &statement.update }.into())
            .collect();
        let mut write_concern = doc! { "w": "majority" };
        if concern.journal == Some(true) {
            write_concern.insert("j", true);
        }
        let command = doc! {
            "update": collection, "updates": updates, "ordered": false, "writeConcern": write_concern,
        };
        let (mut pause, mut tried_before) = (FIRST_PAUSE, false);
        loop {
            let answer = call.answer(|| async { self.database.run_command(command.clone()).await }).await?;
            tried_before |= answer.tried_before;
            let (updated, passes) = updated(&answer.value, tried_before)?;
            if !passes || !call.waits(&mut pause).await {
                return Ok(updated);
            }
            tried_before = true;
        }
    }
}

/// What a reply says, and whether trying again may help some of the statements.
fn updated(reply: &Document, tried_before: bool) -> Result<(Updated, bool), Fault> {
    let number = |document: &Document, key: &str| match document.get(key) {
        Some(Bson::Int32(n)) => i64::from(*n),
        Some(Bson::Int64(n)) => *n,
        Some(Bson::Double(n)) => *n as i64,
        _ => 0,
    };
    if let Ok(failed) = reply.get_document("writeConcernError") {
        return Err(of_code(number(failed, "code") as i32, failed.get_str("errmsg").unwrap_or("")));
    }
    let errors = reply.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
    let errors: Vec<_> = errors.iter().filter_map(Bson::as_document).collect();
    let passes = errors.iter().any(|error| code_passes(number(error, "code") as i32));
    let failed = errors.into_iter().map(|error| {
        let text = error.get_str("errmsg").unwrap_or("a write failed");
        (number(error, "index") as usize, of_code(number(error, "code") as i32, text))
    });
    let failed = failed.collect();
    Ok((Updated { matched: number(reply, "n").max(0) as u64, failed, tried_before }, passes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_failed_is_tried_again_when_that_may_help() {
        let failed = |code: i32| {
            let error = doc! { "index": 1, "code": code, "errmsg": "no" };
            let (updated, passes) = updated(&doc! { "n": 1, "writeErrors": [error] }, false).unwrap();
            assert_eq!((updated.matched, updated.failed[0].0), (1, 1));
            passes
        };
        assert!(failed(112), "a write conflict");
        assert!(failed(16_908_292), "PostgreSQL's 40P01, a deadlock");
        assert!(!failed(319_029_277), "another state that it passes on");
        assert!(!failed(11000), "a duplicate stays one");
        assert!(!updated(&doc! { "n": 2_i64 }, true).unwrap().1);
    }
}

//! Collecting an attempt's files and handing them to the producer, as one stream that is never held in memory.
//!
//! Nothing that goes wrong here changes how the command ended: it becomes a warning and a line in the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use gantry_api_types::worker::{ArtifactsAnswer, Grant, ReportedState};
use gantry_executor::{ExecutorError, Progress as _, TarStream};

use crate::backoff::Backoff;
use crate::lease::Lease;
use crate::producer::ProducerError;
use crate::progress::ProgressLines;
use crate::shared::Shared;
use crate::steps::{Cut, Stage, Steps, cut, report_until_answered, write_progress};

/// What came of collecting.
enum Gathered {
    Nothing,
    Stored(ArtifactsAnswer),
    Failed { code: &'static str, message: String },
}

impl Steps<'_> {
    /// Whether anything was there to collect.
    pub async fn collect(&mut self) -> Result<bool, Cut> {
        let limit = Duration::from_secs(self.grant.collect_timeout_seconds.into());
        let said = ProgressLines::default();
        let gathered = tokio::select! {
            biased;
            cut = cut(self.shared, self.lease, Stage::Started) => match cut {
                // The command's own end stands.
                Cut::HandedBack => Ok(missing("the worker had to shut down")),
                cut => Err(cut),
            },
            gathered = tokio::time::timeout(limit, gather(self.shared, self.lease, self.grant, &said)) => {
                gathered.unwrap_or_else(|_| {
                    Ok(missing(format!("collecting took longer than {} s", limit.as_secs())))
                })
            }
            never = write_progress(self.log, &said) => match never {},
        }?;
        while let Some(line) = said.take() {
            self.log.line(&line);
        }
        match gathered {
            Gathered::Nothing => Ok(false),
            Gathered::Stored(answer) => {
                self.log.line(&format!(
                    "collected {}, {}",
                    number(answer.count.into(), "file"),
                    number(answer.bytes, "byte")
                ));
                for problem in answer.problems {
                    self.log.line(&problem);
                }
                Ok(true)
            }
            Gathered::Failed { code, message } => {
                self.log.line(&message);
                self.record.warn(code, message);
                Ok(true)
            }
        }
    }
}

fn missing(why: impl std::fmt::Display) -> Gathered {
    Gathered::Failed { code: "artifacts_missing", message: format!("The artifacts are not there: {why}.") }
}

/// A tar can be read once: another try collects again. With the pauses between them these outlast any outage that the
/// lease survives.
const TRIES: u32 = 20;

async fn gather(shared: &Shared, lease: &Lease, grant: &Grant, say: &ProgressLines) -> Result<Gathered, Cut> {
    let mut backoff = Backoff::new();
    let mut reported = false;
    let mut tries = 0;
    loop {
        let tar = match shared.executor.collect(lease.key, &grant.artifacts).await {
            Ok(tar) => tar,
            Err(error) => return Ok(missing(error)),
        };
        let tar = match unless_empty(tar).await {
            Ok(Some(tar)) => tar,
            Ok(None) => return Ok(Gathered::Nothing),
            Err(error) => return Ok(missing(error)),
        };
        if !std::mem::replace(&mut reported, true) {
            say.line(format!("collecting what matches {}", number(grant.artifacts.len() as u64, "path")));
            report_until_answered(shared, lease, ReportedState::Analyzing).await?;
        }
        let broken = Broken::default();
        let upload = shared.producer.put_artifacts(lease.key.run, &lease.token, broken.watch(tar)).await;
        if let Some(error) = broken.take() {
            return Ok(missing(error));
        }
        tries += 1;
        match upload {
            Ok(answer) => return Ok(Gathered::Stored(answer)),
            Err(ProducerError::Stale) => return Err(Cut::Lost),
            Err(error @ ProducerError::Retry { .. }) if tries < TRIES => {
                say.line(format!("the artifacts could not be handed over, trying again: {error}"));
                backoff.wait_after(&error).await;
            }
            Err(error @ ProducerError::Retry { .. }) => return Ok(missing(error)),
            Err(error) => {
                let message = format!("The artifacts were refused: {error}");
                return Ok(Gathered::Failed { code: "artifacts_refused", message });
            }
        }
    }
}

fn number(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

const TAR_BLOCK: usize = 512;

/// The same tar, or `None` when it has no entry: then its first block is the end mark, all zeros.
async fn unless_empty(mut tar: TarStream) -> Result<Option<TarStream>, ExecutorError> {
    let mut begin = Vec::new();
    let mut length = 0;
    while length < TAR_BLOCK {
        let Some(bytes) = tar.try_next().await? else { break };
        length += bytes.len();
        begin.push(bytes);
    }
    let empty = begin.iter().flatten().take(TAR_BLOCK).all(|byte| *byte == 0);
    Ok((!empty).then(|| futures::stream::iter(begin.into_iter().map(Ok)).chain(tar).boxed()))
}

/// Remembers whether it was the executor that broke a tar off: the producer only sees a body that ended early.
#[derive(Clone, Default)]
struct Broken(Arc<Mutex<Option<ExecutorError>>>);

impl Broken {
    fn watch(&self, tar: TarStream) -> TarStream {
        let broken = self.clone();
        let note = move |result: Result<Bytes, ExecutorError>| {
            if let Err(error) = &result {
                *broken.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            }
            result
        };
        tar.map(note).boxed()
    }

    fn take(&self) -> Option<ExecutorError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|count| number(count, "file")), ["0 files", "1 file", "2 files"]);
    }
}

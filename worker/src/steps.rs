//! The steps of an attempt, and what cuts them short.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use gantry_api_types::worker::{Grant, Observation, ReportedState};
use gantry_domain::trace::TraceContext;
use gantry_executor::{AttemptSpec, ExecutorError, Exit, OutputStream};
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::backoff::Backoff;
use crate::lease::{Lease, Signal};
use crate::log_pipeline::{LogWriter, PumpEnd};
use crate::producer::{ProducerError, within};
use crate::progress::ProgressLines;
use crate::shared::Shared;
use crate::trace::step;

/// One attempt under way.
pub(crate) struct Steps<'a> {
    pub shared: &'a Shared,
    pub grant: &'a Grant,
    pub lease: &'a Lease,
    pub slot: u32,
    /// What the command is told of its trace.
    pub trace: Option<TraceContext>,
    pub log: &'a mut LogWriter,
    pub record: &'a mut Record,
}

/// What is told about the attempt besides its end.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub prepared: Option<Duration>,
    pub executed: Option<Duration>,
    pub collected: Option<Duration>,
    pub warnings: Vec<(String, String)>,
}

impl Record {
    pub fn warn(&mut self, code: &str, message: impl Into<String>) {
        self.warnings.push((code.to_owned(), message.into()));
    }
}

/// Why the remaining steps are not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Cancelled,
    /// Nothing may be reported.
    Lost,
    /// The worker shuts down.
    HandedBack,
    /// A step failed.
    Failed(Observation),
}

impl Cut {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
            Self::HandedBack => "handed_back",
            Self::Failed(observed) => name_of(observed),
        }
    }
}

/// What was observed, as metrics and spans call it.
pub(crate) fn name_of(observed: &Observation) -> &'static str {
    match observed {
        Observation::Exited { .. } => "exited",
        Observation::TimedOut { .. } => "timed_out",
        Observation::Cancelled => "cancelled",
        Observation::BadCommand { .. } => "bad_command",
        Observation::ImageNotFound { .. } => "image_not_found",
        Observation::ImageDenied { .. } => "image_denied",
        Observation::RegistryUnreachable { .. } => "registry_unreachable",
        Observation::Infrastructure { .. } => "infrastructure",
        Observation::HandedBack => "handed_back",
    }
}

impl From<ExecutorError> for Cut {
    fn from(error: ExecutorError) -> Self {
        Self::Failed(match error {
            ExecutorError::BadCommand(detail) | ExecutorError::Unsupported(detail) => {
                Observation::BadCommand { detail }
            }
            ExecutorError::ImageNotFound(detail) => Observation::ImageNotFound { detail },
            ExecutorError::ImageDenied(detail) => Observation::ImageDenied { detail },
            ExecutorError::RegistryUnreachable(detail) => Observation::RegistryUnreachable { detail },
            ExecutorError::Infrastructure(detail) => Observation::Infrastructure { detail },
            error @ ExecutorError::CallOrder(_) => Observation::Infrastructure { detail: error.to_string() },
        })
    }
}

/// How far an attempt is, as far as a shutdown cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing of the user's has run: it is handed back at once.
    NotStarted,
    /// It has the drain's grace to end.
    Started,
}

/// How attending ended, before anything follows from it.
enum Attended {
    Exited(Result<Exit, ExecutorError>),
    Deadline,
    Cut(Cut),
}

impl Steps<'_> {
    /// The whole of it: what was observed at the command's end, or what cut it.
    pub async fn carry_out(mut self) -> Result<Observation, Cut> {
        let grant = self.grant;
        traced(step!("prepare", grant), self.prepare()).await?;
        if grant.start_first {
            traced(step!("starting", grant), self.report_starting()).await?;
        }
        let output = traced(step!("start", grant), self.start()).await?;
        let (observed, ended) = traced(step!("wait", grant), self.attend(output)).await?;
        if ended && !self.grant.artifacts.is_empty() {
            let begun = Instant::now();
            if traced(step!("collect", grant), self.collect()).await? {
                self.record.collected = Some(begun.elapsed());
                metrics::histogram!("gantry_worker_collect_seconds").record(begun.elapsed());
            }
        }
        Ok(observed)
    }

    async fn prepare(&mut self) -> Result<(), Cut> {
        let begun = Instant::now();
        let bound = self.shared.config.bounds.prepare;
        let spec = spec(self.grant, self.lease, self.slot, self.trace.as_ref());
        let progress = ProgressLines::default();
        let prepared = tokio::select! {
            biased;
            cut = cut(self.shared, self.lease, Stage::NotStarted) => return Err(cut),
            prepared = self.shared.executor.prepare(&spec, &progress) => prepared,
            never = write_progress(self.log, &progress) => match never {},
            () = tokio::time::sleep(bound) => Err(ExecutorError::Infrastructure(format!(
                "It was not ready to start within {} minutes.",
                bound.as_secs() / 60
            ))),
        };
        while let Some(line) = progress.take() {
            self.log.line(&line);
        }
        prepared?;
        self.record.prepared = Some(begun.elapsed());
        metrics::histogram!("gantry_worker_prepare_seconds").record(begun.elapsed());
        Ok(())
    }

    /// Waits for the answer, which may be that somebody wants it to end. Once this was sent the run may count as started, so
    /// a shutdown that begins now gives it its grace.
    async fn report_starting(&self) -> Result<(), Cut> {
        tokio::select! {
            biased;
            cut = cut(self.shared, self.lease, Stage::Started) => Err(cut),
            answer = report_until_answered(self.shared, self.lease, ReportedState::Starting) => answer,
        }
    }

    async fn start(&mut self) -> Result<OutputStream, Cut> {
        let begun = Instant::now();
        let bound = self.shared.config.bounds.start;
        let started = tokio::select! {
            biased;
            cut = cut(self.shared, self.lease, Stage::Started) => return Err(cut),
            started = tokio::time::timeout(bound, self.shared.executor.start(self.lease.key)) => started,
        };
        let output = started.unwrap_or_else(|_| {
            Err(ExecutorError::Infrastructure(format!(
                "The engine did not start it within {} s.",
                bound.as_secs()
            )))
        })?;
        metrics::histogram!("gantry_worker_start_seconds").record(begun.elapsed());
        self.log.aside("started");
        Ok(output)
    }

    /// Reads the output until the command ends or is made to. The flag says whether it has ended, so that files can be
    /// collected.
    async fn attend(&mut self, mut output: OutputStream) -> Result<(Observation, bool), Cut> {
        let (shared, key) = (self.shared, self.lease.key);
        let limit = Duration::from_secs(self.grant.timeout_seconds.into());
        let begun = Instant::now();
        let mut wait = shared.executor.wait(key);
        let attended = tokio::select! {
            biased;
            exit = &mut wait => Attended::Exited(exit),
            cut = cut(shared, self.lease, Stage::Started) => Attended::Cut(cut),
            cut = announce(shared, self.lease, self.grant) => Attended::Cut(cut),
            never = read_for_ever(self.log, &mut output) => match never {},
            () = tokio::time::sleep(limit) => Attended::Deadline,
        };
        self.record.executed = Some(begun.elapsed());
        metrics::histogram!("gantry_worker_run_seconds").record(begun.elapsed());
        match attended {
            Attended::Exited(exit) => {
                let exit = exit?;
                self.read_the_rest(&mut output).await?;
                Ok((Observation::Exited { code: exit.code, oom_killed: exit.oom_killed }, true))
            }
            Attended::Cut(Cut::Lost) => Err(Cut::Lost),
            Attended::Cut(cut) => {
                self.stop(&mut output).await?;
                Err(cut)
            }
            Attended::Deadline => {
                self.log.line(&format!("time limit of {} s reached: stopping it", limit.as_secs()));
                let stopped = self.stop(&mut output).await?;
                // What is collected must not change any more.
                let ended = stopped
                    && matches!(tokio::time::timeout(shared.config.bounds.stop, wait).await, Ok(Ok(_)));
                Ok((Observation::TimedOut { limit_seconds: limit.as_secs() }, ended))
            }
        }
    }

    /// What the command wrote before it ended. Its end stands, so a drain only stops the reading.
    async fn read_the_rest(&mut self, output: &mut OutputStream) -> Result<(), Cut> {
        let tail = self.shared.config.bounds.output_tail;
        tokio::select! {
            biased;
            end = self.log.pump(output, Some(tail)) => {
                if end == PumpEnd::Idle {
                    self.log.line("its output stayed open after its end: no more of it is read");
                }
                Ok(())
            }
            cut = cut(self.shared, self.lease, Stage::Started) => match cut {
                Cut::HandedBack => Ok(()),
                cut => Err(cut),
            },
            () = tokio::time::sleep(OUTPUT_AFTER_END) => {
                self.log.line("its output went on for a minute after its end: no more of it is read");
                Ok(())
            }
        }
    }

    /// Makes the command end: politely, then by force. Whether it has ended; its last output is read as far as that is quick.
    async fn stop(&mut self, output: &mut OutputStream) -> Result<bool, Cut> {
        let bounds = &self.shared.config.bounds;
        let stop = self.shared.executor.stop(self.lease.key, bounds.stop_grace);
        let stopped = tokio::select! {
            biased;
            _ = self.lease.told(Signal::Lost) => return Err(Cut::Lost),
            stopped = tokio::time::timeout(bounds.stop_grace + bounds.stop, stop) => stopped,
            never = read_for_ever(self.log, output) => match never {},
        };
        let problem = match stopped {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the engine did not stop it in time".to_owned()),
        };
        if let Some(problem) = &problem {
            tracing::warn!(run.id = %self.lease.key.run, problem, "cannot stop a command");
            self.log.line(&format!("stopping it failed, removing it by force: {problem}"));
        } else {
            let tail = bounds.output_tail.min(LAST_WORDS);
            let _ = tokio::time::timeout(tail, self.log.pump(output, Some(tail))).await;
        }
        Ok(problem.is_none())
    }
}

/// A person does not see a run start later than that.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(100);
/// Somebody the command started may go on writing for ever. Longer than any outage of the producer that a lease survives.
const OUTPUT_AFTER_END: Duration = Duration::from_secs(60);
/// How long a stopped command's last output may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Tells of the start of a command that may be run again, unless that was to be told first. One that is over before saves
/// the producer a write: its end tells of both.
async fn announce(shared: &Shared, lease: &Lease, grant: &Grant) -> Cut {
    if !grant.start_first {
        tokio::time::sleep(ANNOUNCE_AFTER).await;
        let told = report_until_answered(shared, lease, ReportedState::Starting);
        match traced(step!("starting", grant), told).await {
            Ok(()) => {}
            Err(cut @ (Cut::Lost | Cut::Cancelled)) => return cut,
            Err(cut) => tracing::warn!(run.id = %lease.key.run, ?cut, "its start is not told"),
        }
    }
    std::future::pending().await
}

/// Resolves when the attempt must not go on.
pub(crate) async fn cut(shared: &Shared, lease: &Lease, stage: Stage) -> Cut {
    let drained = match stage {
        Stage::NotStarted => &shared.stages.begun,
        Stage::Started => &shared.stages.grace_over,
    };
    tokio::select! {
        biased;
        signal = lease.told(Signal::Cancel) => match signal {
            Signal::Lost => Cut::Lost,
            Signal::Cancel | Signal::Continue => Cut::Cancelled,
        },
        () = drained.cancelled() => Cut::HandedBack,
    }
}

/// Tries again as long as the producer cannot be reached; the caller bounds it by the lease.
pub(crate) async fn report_until_answered(
    shared: &Shared,
    lease: &Lease,
    state: ReportedState,
) -> Result<(), Cut> {
    let mut backoff = Backoff::new();
    loop {
        let call = shared.producer.state(lease.key.run, &lease.token, state);
        match within(shared.config.bounds.call, call).await {
            Ok(answer) if answer.cancel => return Err(Cut::Cancelled),
            Ok(_) => return Ok(()),
            Err(ProducerError::Stale) => return Err(Cut::Lost),
            Err(error @ ProducerError::Retry { .. }) => backoff.wait_after(&error).await,
            Err(error) => {
                let detail = format!("The producer did not let it go on: {error}");
                return Err(Cut::Failed(Observation::Infrastructure { detail }));
            }
        }
    }
}

async fn read_for_ever(log: &mut LogWriter, output: &mut OutputStream) -> Infallible {
    log.pump(output, None).await;
    log.keep_flushing().await
}

/// Cancelling it loses nothing that [`ProgressLines::take`] would not still give.
pub(crate) async fn write_progress(log: &mut LogWriter, progress: &ProgressLines) -> Infallible {
    loop {
        let line = tokio::select! {
            biased;
            line = progress.next() => line,
            never = log.keep_flushing() => match never {},
        };
        log.line(&line);
    }
}

fn spec(grant: &Grant, lease: &Lease, slot: u32, trace: Option<&TraceContext>) -> AttemptSpec {
    let mut environment = grant.environment.clone();
    if let Some(trace) = trace {
        // A run that brings its own means that one.
        for (name, value) in trace.to_headers() {
            environment.entry(name.to_ascii_uppercase()).or_insert(value);
        }
    }
    AttemptSpec {
        key: lease.key,
        organization: grant.organization,
        image: grant.image.clone(),
        command: grant.command.clone(),
        folder: grant.folder.clone(),
        environment,
        resources: grant.resources,
        network: grant.network,
        slot,
        workdir: grant.workdir.as_ref().map(PathBuf::from),
        trace_id: trace.map(|trace| trace.trace_id().to_owned()),
    }
}

/// A step in its span, which says what cut it.
async fn traced<T>(span: Span, step: impl Future<Output = Result<T, Cut>>) -> Result<T, Cut> {
    let done = step.instrument(span.clone()).await;
    if let Err(cut) = &done {
        span.record("error.type", cut.name());
    }
    done
}

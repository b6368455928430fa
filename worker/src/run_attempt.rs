//! One attempt, from its grant to its end.
//!
//! ```text
//! prepare → report starting → start → attend (output, exit, deadline) → collect → finish
//!     └───────────┴────────────┴──────────┴───────────────────────────────┘
//!                any of them may be cut by: cancel · lease lost · drain
//! ```
//! Every step is bounded. [`Steps`] walks them and returns what was observed, or what cut it; [`run_attempt`] then cleans
//! up and reports. What is on the engine belongs to a [`Sandbox`] all the way, so that it goes whatever happens here.
//!
//! Order at the end: where the command may still run (cancel, time limit, hand-back, a failed step), it is removed before
//! the end is reported, because the report says that it is gone, or lets it start elsewhere. After an end of its own there is
//! nothing left that could run, so removing and reporting go side by side, and a worker that dies in between leaves a
//! leftover, not a live container. When the lease is lost it is removed at once and nothing is reported.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use gantry_api_types::worker::{Finish, Grant, Observation};
use gantry_domain::trace::TraceContext;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::finish::finish;
use crate::lease::{Lease, Signal};
use crate::log_pipeline::LogWriter;
use crate::log_sender::LogSender;
use crate::mask::Secrets;
use crate::sandbox::Sandbox;
use crate::shared::Shared;
use crate::steps::{Cut, Record, Steps, name_of};
use crate::trace::step;

/// Carries out what was granted and reports its end, unless the lease is lost.
pub(crate) async fn run_attempt(
    shared: Arc<Shared>,
    grant: Grant,
    lease: Lease,
    slot: u32,
    trace: Option<TraceContext>,
) {
    let begun = Instant::now();
    let mut record = Record::default();
    let mut sandbox = Sandbox::new(Arc::clone(&shared), lease.key);
    let (mut log, unmaskable) = log_writer(&shared, &grant, &lease);
    let outcome = match unmaskable {
        Some(detail) => Err(Cut::Failed(Observation::Infrastructure { detail })),
        None => {
            let steps = Steps {
                shared: &shared,
                grant: &grant,
                lease: &lease,
                slot,
                trace,
                log: &mut log,
                record: &mut record,
            };
            // The log may miss a piece after a panic; everything else it could leave half-done is dropped with it.
            AssertUnwindSafe(steps.carry_out()).catch_unwind().await.unwrap_or_else(|_| {
                let detail = "The worker failed while it carried the run out; its log says why.".to_owned();
                Err(Cut::Failed(Observation::Infrastructure { detail }))
            })
        }
    };
    if let Err(Cut::Failed(Observation::Infrastructure { .. })) = &outcome {
        shared.engine.suspect();
    }
    let ending = Ending::of(outcome);
    Span::current().record("ending", ending.name());
    metrics::counter!("gantry_worker_attempts_total", "ending" => ending.name()).increment(1);
    let Ending::Reported { observed, may_run } = ending else {
        tracing::info!(run.id = %grant.run, attempt = grant.attempt, "lease lost: nothing is reported");
        drop(log);
        let _ = sandbox.destroy().instrument(step!("destroy", grant)).await;
        return;
    };
    // Engines and tools quote what they were given.
    let observed = without_secrets(observed, &log);
    for (_, message) in &mut record.warnings {
        *message = log.masked(message);
    }
    say_why(&mut log, &observed, &record);
    tracing::debug!(run.id = %grant.run, attempt = grant.attempt, ?observed, took = ?begun.elapsed(), "attempt ended");
    if may_run {
        if let Err(error) = sandbox.destroy().instrument(step!("destroy", grant)).await {
            record.warn("container_left", format!("What it left could not be removed yet: {error}"));
        }
        report(&shared, &lease, observed, log, record).instrument(step!("finish", grant)).await;
    } else {
        let (_, ()) = tokio::join!(
            sandbox.destroy().instrument(step!("destroy", grant)),
            report(&shared, &lease, observed, log, record).instrument(step!("finish", grant))
        );
    }
}

/// What becomes of an attempt.
enum Ending {
    Lost,
    /// `may_run`: only removing it makes sure that it runs no more.
    Reported {
        observed: Observation,
        may_run: bool,
    },
}

impl Ending {
    fn of(outcome: Result<Observation, Cut>) -> Self {
        let reported = |observed, may_run| Self::Reported { observed, may_run };
        match outcome {
            Ok(observed) => {
                let by_itself = matches!(observed, Observation::Exited { .. });
                reported(observed, !by_itself)
            }
            Err(Cut::Failed(observed)) => reported(observed, true),
            Err(Cut::Cancelled) => reported(Observation::Cancelled, true),
            Err(Cut::HandedBack) => reported(Observation::HandedBack, true),
            Err(Cut::Lost) => Self::Lost,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Reported { observed, .. } => name_of(observed),
        }
    }
}

/// A run whose secrets cannot be masked must not print them: then the second says why.
fn log_writer(shared: &Arc<Shared>, grant: &Grant, lease: &Lease) -> (LogWriter, Option<String>) {
    let sender = LogSender {
        producer: Arc::clone(&shared.producer),
        key: lease.key,
        lease: lease.token.clone(),
        call_bound: shared.config.bounds.call,
        lose: Box::new(lease.loser()),
    };
    let (secrets, unmaskable) = match Secrets::new(&grant.masked) {
        Ok(secrets) => (secrets, None),
        Err(error) => (None, Some(format!("The run's secrets cannot be masked: {error}"))),
    };
    (LogWriter::new(sender, Arc::clone(&shared.clock), secrets, grant.log_limit_bytes), unmaskable)
}

fn without_secrets(mut observed: Observation, log: &LogWriter) -> Observation {
    match &mut observed {
        Observation::BadCommand { detail }
        | Observation::ImageNotFound { detail }
        | Observation::ImageDenied { detail }
        | Observation::RegistryUnreachable { detail }
        | Observation::Infrastructure { detail } => *detail = log.masked(detail),
        Observation::Exited { .. }
        | Observation::TimedOut { .. }
        | Observation::Cancelled
        | Observation::HandedBack => {}
    }
    observed
}

fn say_why(log: &mut LogWriter, observed: &Observation, record: &Record) {
    let after = record.executed.map(|took| format!(" after {:.1} s", took.as_secs_f64())).unwrap_or_default();
    match observed {
        Observation::Exited { code: 0, .. } => log.aside(&format!("exit code 0{after}")),
        Observation::Exited { code, oom_killed } => {
            let memory = if *oom_killed { ", killed for lack of memory" } else { "" };
            log.line(&format!("exit code {code}{after}{memory}"));
        }
        Observation::TimedOut { limit_seconds } => {
            log.line(&format!("ended at its time limit of {limit_seconds} s"));
        }
        Observation::Cancelled => log.line(&format!("cancelled{after}")),
        Observation::HandedBack => log.line("the worker shuts down and gives the run back"),
        Observation::BadCommand { detail }
        | Observation::ImageNotFound { detail }
        | Observation::ImageDenied { detail }
        | Observation::RegistryUnreachable { detail }
        | Observation::Infrastructure { detail } => log.line(detail),
    }
}

/// Sends the rest of the log and the end; gives up when the lease is lost, nobody takes it, or a drain has no more time.
async fn report(shared: &Shared, lease: &Lease, observed: Observation, log: LogWriter, record: Record) {
    let reported = async {
        let log = log.close().await;
        let mut warnings = record.warnings;
        if let Some(problem) = log.problem {
            warnings.push(("log_incomplete".to_owned(), format!("The log is not complete: {problem}.")));
        }
        let millis = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let end = Finish {
            observed,
            log_end: log.end,
            no_log: log.none,
            log_truncated: log.truncated,
            prepare_ms: record.prepared.map(millis),
            execute_ms: record.executed.map(millis),
            collect_ms: record.collected.map(millis),
            warnings,
        };
        finish(shared, lease, end).await;
    };
    tokio::select! {
        () = reported => {}
        _ = lease.told(Signal::Lost) => {
            tracing::info!(run.id = %lease.key.run, "lease lost: its end is not reported");
        }
        () = tokio::time::sleep(TELLING) => {
            tracing::error!(run.id = %lease.key.run, "its end finds no taker: the lease is left to run out");
        }
        () = no_more_time(shared) => {
            tracing::warn!(run.id = %lease.key.run, "the worker ends before the producer could be told");
        }
    }
}

/// How long the end is told while heartbeats are answered. A producer that takes it no sooner never will, and then a lost
/// attempt is better than one that holds its slot for ever.
const TELLING: Duration = Duration::from_secs(600);

async fn no_more_time(shared: &Shared) {
    shared.stages.grace_over.cancelled().await;
    tokio::time::sleep(shared.config.bounds.farewell).await;
}

//! Following a run to its end: its log, why it waits, and Ctrl-C.

use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt as _;
use gantry_api_types::run::{Run, Status, TestResult, TestStatus};
use gantry_client::{ApiClient, ClientError, LogItem, RetryPolicy, TestFilter, retry};
use gantry_domain::id::RunId;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use super::log_view::{LogView, Target};
use super::{now, summary};
use crate::args::Output;
use crate::failure::Failure;
use crate::run_name::id_of;
use crate::terminal::style::words;
use crate::terminal::{human, json};

/// How often a person is told why nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Failed tests that the end of a run names.
const FAILED_SHOWN: u32 = 3;
const CANCEL_WITHIN: Duration = Duration::from_secs(30);
/// Why does not matter while it goes on.
pub const RECONNECTING: &str = "The connection was lost; reconnecting.";
/// As shells say it of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// As shells say it of a command that SIGPIPE ended.
const NOBODY_READS: u8 = 141;

/// Ctrl-C and the polite kill that CI systems send.
pub struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    pub fn listen() -> Result<Self, Failure> {
        Ok(Self { int: signal(SignalKind::interrupt())?, term: signal(SignalKind::terminate())? })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}

/// How a followed run is shown.
#[derive(Debug, Clone, Copy)]
pub struct Presentation {
    pub output: Output,
    pub quiet: bool,
}

/// Follows `run` to its end, and says how it went. The first interrupt cancels the run, the second leaves.
pub async fn to_the_end(
    client: &ApiClient,
    run: &Run,
    presentation: Presentation,
    interrupts: &mut Interrupts,
) -> Result<ExitCode, Failure> {
    let target = match presentation.output {
        Output::Table => Target::Apart,
        Output::Json => Target::Stderr,
    };
    let mut view = LogView::new(target, !presentation.quiet);
    let id = id_of(run)?;
    let ended = {
        let following = follow(client, id, &mut view, interrupts);
        Box::pin(following).await
    };
    // Also after an error: what was on the line is no longer true.
    view.begin_line()?;
    let run = match ended {
        Ok(Some(run)) => run,
        Ok(None) => {
            view.say("Left. The run is being cancelled.")?;
            return Ok(ExitCode::from(INTERRUPTED));
        }
        // How the run ends is not known here, so this is no success.
        Err(Failure::NobodyReads) => return Ok(ExitCode::from(NOBODY_READS)),
        Err(failure) => {
            return Err(failure.hint(format!("The run goes on without you: gantry logs -f {}", run.number)));
        }
    };
    if presentation.output == Output::Json {
        json::print(&run)?;
    } else if !presentation.quiet {
        summary::print(&run, &some_failed_tests(client, &run).await)?;
    }
    Ok(ExitCode::from(summary::exit_code(&run)))
}

/// The first of them; none when they cannot be had, since the run's end is worth telling without them.
async fn some_failed_tests(client: &ApiClient, run: &Run) -> Vec<TestResult> {
    let Some(id) = id_of(run).ok().filter(|_| run.tests.failed > 0) else { return Vec::new() };
    let filter = TestFilter { statuses: vec![TestStatus::Failed], limit: Some(FAILED_SHOWN), cursor: None };
    client.tests(id, &filter).await.map(|page| page.items).unwrap_or_default()
}

/// The run as it ended; `None` when the person left first.
async fn follow(
    client: &ApiClient,
    run: RunId,
    view: &mut LogView,
    interrupts: &mut Interrupts,
) -> Result<Option<Run>, Failure> {
    let items = client.follow(run, None);
    futures::pin_mut!(items);
    let mut looks = tokio::time::interval_at(Instant::now() + LOOK_EVERY / 2, LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut quiet_since = Instant::now();
    let mut cancelling = Cancelling::No;
    loop {
        tokio::select! {
            item = items.next() => {
                quiet_since = Instant::now();
                match item.transpose()? {
                    Some(LogItem::Log(piece)) => {
                        view.piece(piece.stream, &piece.bytes().unwrap_or_default())?;
                    }
                    Some(LogItem::Attempt(number)) => view.say(&format!("Attempt {number}"))?,
                    Some(LogItem::Interrupted(_)) => view.say(RECONNECTING)?,
                    Some(LogItem::End(run)) => return Ok(Some(*run)),
                    None => return Ok(Some(client.get_run(run).await?)),
                }
            }
            _ = looks.tick(), if view.can_pass() => {
                // A look that fails is no news: the stream tells of lost connections.
                if quiet_since.elapsed() >= LOOK_EVERY / 2
                    && let Ok(Ok(run)) = tokio::time::timeout(LOOK_EVERY, client.get_run(run)).await {
                    view.pass(&state_in_words(&run))?;
                }
            }
            () = interrupts.next() => match cancelling {
                Cancelling::No => {
                    view.say("Cancelling the run; press Ctrl-C again to leave at once.")?;
                    cancelling = Cancelling::Asked(Box::pin(ask_to_cancel(client.clone(), run)));
                }
                _ => return Ok(None),
            },
            asked = cancelling.answered() => {
                cancelling = Cancelling::Answered;
                if let Err(error) = asked {
                    view.say(&format!("The run was not cancelled: {error}"))?;
                }
            }
        }
    }
}

enum Cancelling {
    No,
    Asked(std::pin::Pin<Box<dyn Future<Output = Result<(), ClientError>>>>),
    Answered,
}

impl Cancelling {
    /// Pending for ever unless an answer is awaited.
    async fn answered(&mut self) -> Result<(), ClientError> {
        match self {
            Self::Asked(answer) => answer.await,
            Self::No | Self::Answered => std::future::pending().await,
        }
    }
}

async fn ask_to_cancel(client: ApiClient, run: RunId) -> Result<(), ClientError> {
    let deadline = Instant::now() + CANCEL_WITHIN;
    match retry(RetryPolicy::default(), deadline, || client.cancel_run(run)).await {
        // Over in the meantime: that is what was wanted.
        Err(error) if error.code() == Some(gantry_api_types::problem::ProblemCode::RunFinished) => Ok(()),
        done => done.map(drop),
    }
}

/// What a run is doing while it prints nothing.
fn state_in_words(run: &Run) -> String {
    let mut line = format!("#{} {}", run.number, words(run.status));
    if let Some(waiting) = &run.waiting {
        line.push_str(&format!(": {}", waiting.message));
        if let Some(ahead) = waiting.ahead.filter(|&ahead| ahead > 0) {
            line.push_str(&format!(" {ahead} ahead."));
        }
        if let Some(at) = waiting.estimated_start_at {
            line.push_str(&format!(" Starts in about {}.", human::seconds(at.since(now()))));
        }
    } else if run.cancelling {
        line.push_str(": being cancelled");
    } else if let (Status::Running, Some(started)) = (run.status, run.started_at) {
        line.push_str(&format!(" for {}", human::seconds(now().since(started))));
    } else if run.status == Status::Running {
        line.push_str(": getting ready");
    } else if run.status == Status::Analyzing {
        line.push_str(": collecting artifacts and test results");
    }
    line
}

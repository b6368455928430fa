//! One try of a run on a worker: what was observed, and what that means for the run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::WorkerId;
use crate::reason::{Reason, ReasonCode};
use crate::results::TestSummary;
use crate::run::{AttemptReport, CancelRequest, Timings, Verdict};
use crate::time::Timestamp;

/// The record of one attempt; kept whatever comes after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Counts from 1.
    pub number: u32,
    pub worker: WorkerId,
    pub claimed_at: Timestamp,
    /// When the command was allowed to start.
    pub started_at: Option<Timestamp>,
    /// When the command ended and collecting began.
    pub exited_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub timings: Timings,
    pub outcome: Option<Outcome>,
    pub log: AttemptLog,
    pub tests: TestSummary,
    pub artifacts: ArtifactSummary,
    pub warnings: Vec<Warning>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub verdict: Verdict,
    pub reason: Reason,
    pub exit_code: Option<i64>,
}

/// A log of at most this many bytes stays in the store for good: a blob of its own costs several syncs and another
/// write to the run, which thousands of short runs a second cannot afford.
pub const SMALL_LOG_BYTES: u64 = 64 * 1024;

/// Where an attempt's log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptLog {
    /// Its length, once it is complete.
    pub end: Option<u64>,
    /// The log limit cut it.
    pub truncated: bool,
    /// Sealed into a blob; chunks may be gone.
    pub sealed: bool,
    /// Until when the chunks of a sealed log are kept for readers who are in the middle of them; `None` once they are gone.
    #[serde(default)]
    pub chunks_until: Option<Timestamp>,
}

/// What was collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactSummary {
    pub count: u32,
    pub bytes: u64,
}

/// Something a user should know that did not decide the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A stable name: `child_oom`, `artifacts_refused`, `report_unreadable`, `log_truncated`, …
    pub code: String,
    pub message: String,
}

impl Warning {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    pub fn child_oom() -> Self {
        Self::new(
            "child_oom",
            "A child process was killed for lack of memory, though the command itself succeeded.",
        )
    }
}

impl Attempt {
    /// The attempt that a claim opens.
    pub fn open(number: u32, worker: WorkerId, now: Timestamp) -> Self {
        Self {
            number,
            worker,
            claimed_at: now,
            started_at: None,
            exited_at: None,
            finished_at: None,
            timings: Timings::default(),
            outcome: None,
            log: AttemptLog::default(),
            tests: TestSummary::default(),
            artifacts: ArtifactSummary::default(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn close(
        &mut self,
        verdict: Verdict,
        reason: Reason,
        exit_code: Option<i64>,
        report: AttemptReport,
        now: Timestamp,
    ) {
        self.outcome = Some(Outcome { verdict, reason, exit_code });
        self.finished_at = Some(now);
        // A command that was over before anybody had been told of its start.
        if self.started_at.is_none() && report.timings.execute_ms.is_some() {
            let prepared = Duration::from_millis(report.timings.prepare_ms.unwrap_or(0));
            self.started_at = Some((self.claimed_at + prepared).min(now));
        }
        self.log.end = Some(report.log_end);
        self.log.truncated = report.log_truncated;
        self.tests = report.tests;
        self.timings = report.timings;
        self.warnings.extend(report.warnings);
        if report.log_truncated {
            self.warnings
                .push(Warning::new("log_truncated", "The log reached its limit; the rest was not kept."));
        }
    }

    /// Its log is complete, too long to stay in the store, and not sealed yet.
    pub fn needs_sealing(&self) -> bool {
        self.finished_at.is_some()
            && !self.log.sealed
            && self.log.end.is_some_and(|end| end > SMALL_LOG_BYTES)
    }

    /// When the log has to move next: into a blob once the attempt is over, out of the store when its chunks have served
    /// their time. `None` when it stays where it is.
    pub fn log_due(&self) -> Option<Timestamp> {
        if self.needs_sealing() { self.finished_at } else { self.log.chunks_until }
    }

    /// The command itself failed, as opposed to being lost, cancelled or hindered.
    pub fn failed_on_its_own(&self) -> bool {
        let verdict = self.outcome.as_ref().map(|outcome| outcome.verdict);
        matches!(verdict, Some(Verdict::Failed | Verdict::TimedOut))
    }
}

/// What a worker saw of the attempt's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    Exited {
        code: i64,
        oom_killed: bool,
    },
    /// The run's own time limit passed.
    TimedOut {
        limit_seconds: u64,
    },
    /// The worker ended it because of a cancel request.
    Cancelled,
    /// Missing or not executable, as the engine said.
    BadCommand {
        detail: String,
    },
    ImageNotFound {
        detail: String,
    },
    ImageDenied {
        detail: String,
    },
    RegistryUnreachable {
        detail: String,
    },
    /// A secret was taken away between accepting the run and starting it.
    SecretMissing {
        detail: String,
    },
    /// The engine, the disk or the worker itself failed.
    Infrastructure {
        detail: String,
    },
    /// A draining worker gave the run back.
    HandedBack,
    /// The lease ran out.
    Lost,
}

impl Observation {
    /// Not the run's fault: counts towards `max_lost`.
    pub fn is_infrastructure(&self) -> bool {
        matches!(self, Self::Infrastructure { .. } | Self::HandedBack | Self::Lost)
    }

    pub fn exit_code(&self) -> Option<i64> {
        match self {
            Self::Exited { code, .. } => Some(*code),
            Self::BadCommand { .. } => Some(127),
            _ => None,
        }
    }

    /// What the container did → what the run says.
    pub fn judge(
        &self,
        tests: &TestSummary,
        failed_before: bool,
        cancel: Option<&CancelRequest>,
    ) -> (Verdict, Reason) {
        use ReasonCode as Code;
        let says = |verdict, code, message: String| (verdict, Reason::new(code, message));
        match self {
            Self::Exited { code: 0, .. } => judge_success(tests, failed_before),
            // A cancelled command dies of our own signal; one that had ended by itself before keeps its result.
            Self::Cancelled | Self::Lost | Self::HandedBack if cancel.is_some() => {
                let by = cancel.map_or(crate::run::Actor::System, |request| request.by);
                (Verdict::Cancelled, Reason::cancelled(by))
            }
            Self::Exited { code, oom_killed: true } => says(
                Verdict::Failed,
                Code::OutOfMemory,
                format!("It was killed for lack of memory (exit code {code})."),
            ),
            Self::Exited { code: 126, .. } => says(
                Verdict::Error,
                Code::BadCommand,
                "The command is not executable (exit code 126).".into(),
            ),
            Self::Exited { code: 127, .. } => {
                says(Verdict::Error, Code::BadCommand, "The command was not found (exit code 127).".into())
            }
            Self::Exited { code: 137, .. } => {
                says(Verdict::Failed, Code::Killed, "It was killed from outside (exit code 137).".into())
            }
            Self::Exited { code, .. } => {
                says(Verdict::Failed, Code::ExitCode, format!("The command exited with code {code}."))
            }
            Self::TimedOut { limit_seconds } => says(
                Verdict::TimedOut,
                Code::Timeout,
                format!("It ran longer than its limit of {limit_seconds} s."),
            ),
            Self::Cancelled => says(Verdict::Cancelled, Code::Cancelled, "Cancelled.".into()),
            Self::BadCommand { detail } => says(Verdict::Error, Code::BadCommand, detail.clone()),
            Self::ImageNotFound { detail } => says(Verdict::Error, Code::ImageNotFound, detail.clone()),
            Self::ImageDenied { detail } => says(Verdict::Error, Code::ImageDenied, detail.clone()),
            Self::RegistryUnreachable { detail } => {
                says(Verdict::Error, Code::RegistryUnreachable, detail.clone())
            }
            Self::SecretMissing { detail } => says(Verdict::Error, Code::SecretMissing, detail.clone()),
            Self::Infrastructure { detail } => says(Verdict::Error, Code::Infrastructure, detail.clone()),
            Self::HandedBack => {
                says(Verdict::Error, Code::Lost, "Its worker shut down and gave it back.".into())
            }
            Self::Lost => says(Verdict::Error, Code::Lost, "Its worker went away.".into()),
        }
    }
}

fn judge_success(tests: &TestSummary, failed_before: bool) -> (Verdict, Reason) {
    if tests.failed > 0 {
        let message = format!("The command succeeded, but {} of {} tests failed.", tests.failed, tests.total);
        (Verdict::Unstable, Reason::new(ReasonCode::TestsFailed, message))
    } else if tests.flaky > 0 {
        let message = format!("{} of {} tests passed only when tried again.", tests.flaky, tests.total);
        (Verdict::Unstable, Reason::new(ReasonCode::PassedAfterRetry, message))
    } else if failed_before {
        let message = "It passed only after an attempt that failed.";
        (Verdict::Unstable, Reason::new(ReasonCode::PassedAfterRetry, message))
    } else {
        (Verdict::Passed, Reason::new(ReasonCode::Completed, "The command succeeded."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_complete_log_has_to_move_and_only_once() {
        let (ended, until) = (Timestamp::from_millis(7), Timestamp::from_millis(9));
        let mut attempt = Attempt::open(1, WorkerId::new(), Timestamp::EPOCH);
        assert_eq!(attempt.log_due(), None);
        attempt.finished_at = Some(ended);
        for (end, due) in
            [(None, None), (Some(SMALL_LOG_BYTES), None), (Some(SMALL_LOG_BYTES + 1), Some(ended))]
        {
            attempt.log.end = end;
            assert_eq!((attempt.needs_sealing(), attempt.log_due()), (due.is_some(), due), "{end:?}");
        }
        attempt.log.sealed = true;
        attempt.log.chunks_until = Some(until);
        assert_eq!((attempt.needs_sealing(), attempt.log_due()), (false, Some(until)));
        attempt.log.chunks_until = None;
        assert_eq!(attempt.log_due(), None);
    }
}

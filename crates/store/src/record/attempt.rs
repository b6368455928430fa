use gantry_domain::attempt::{ArtifactSummary, Attempt, AttemptLog, Outcome, Warning};
use gantry_domain::id::WorkerId;
use gantry_domain::reason::{Reason, ReasonCode};
use gantry_domain::results::TestSummary;
use gantry_domain::run::{Timings, Verdict};
use serde::{Deserialize, Serialize};

use super::{Millis, is_default};

#[derive(Serialize, Deserialize)]
pub(super) struct AttemptRecord {
    number: u32,
    worker: WorkerId,
    claimed_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exited_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "is_default")]
    timings: TimingsRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<OutcomeRecord>,
    #[serde(default, skip_serializing_if = "is_default")]
    log: LogRecord,
    #[serde(default, skip_serializing_if = "is_default")]
    tests: TestsRecord,
    #[serde(default, skip_serializing_if = "is_default")]
    artifacts: ArtifactsRecord,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<WarningRecord>,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
struct TimingsRecord {
    prepare_ms: Option<u64>,
    execute_ms: Option<u64>,
    collect_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct OutcomeRecord {
    verdict: Verdict,
    reason: ReasonRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<i64>,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
struct LogRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default")]
    truncated: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    sealed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chunks_until: Option<Millis>,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
struct TestsRecord {
    total: u32,
    passed: u32,
    failed: u32,
    skipped: u32,
    flaky: u32,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
struct ArtifactsRecord {
    count: u32,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct WarningRecord {
    code: String,
    message: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ReasonRecord {
    code: ReasonCode,
    message: String,
}

impl From<&Attempt> for AttemptRecord {
    fn from(attempt: &Attempt) -> Self {
        let (timings, log, tests) = (attempt.timings, attempt.log, attempt.tests);
        Self {
            number: attempt.number,
            worker: attempt.worker,
            claimed_at: attempt.claimed_at.into(),
            started_at: attempt.started_at.map(Millis::from),
            exited_at: attempt.exited_at.map(Millis::from),
            finished_at: attempt.finished_at.map(Millis::from),
            timings: TimingsRecord {
                prepare_ms: timings.prepare_ms,
                execute_ms: timings.execute_ms,
                collect_ms: timings.collect_ms,
            },
            outcome: attempt.outcome.as_ref().map(|outcome| OutcomeRecord {
                verdict: outcome.verdict,
                reason: (&outcome.reason).into(),
                exit_code: outcome.exit_code,
            }),
            log: LogRecord {
                end: log.end,
                truncated: log.truncated,
                sealed: log.sealed,
                chunks_until: log.chunks_until.map(Millis::from),
            },
            tests: TestsRecord {
                total: tests.total,
                passed: tests.passed,
                failed: tests.failed,
                skipped: tests.skipped,
                flaky: tests.flaky,
            },
            artifacts: ArtifactsRecord { count: attempt.artifacts.count, bytes: attempt.artifacts.bytes },
            warnings: attempt.warnings.iter().map(WarningRecord::from).collect(),
        }
    }
}

impl From<AttemptRecord> for Attempt {
    fn from(record: AttemptRecord) -> Self {
        let (timings, log, tests) = (record.timings, record.log, record.tests);
        Self {
            number: record.number,
            worker: record.worker,
            claimed_at: record.claimed_at.into(),
            started_at: record.started_at.map(Into::into),
            exited_at: record.exited_at.map(Into::into),
            finished_at: record.finished_at.map(Into::into),
            timings: Timings {
                prepare_ms: timings.prepare_ms,
                execute_ms: timings.execute_ms,
                collect_ms: timings.collect_ms,
            },
            outcome: record.outcome.map(|outcome| Outcome {
                verdict: outcome.verdict,
                reason: outcome.reason.into(),
                exit_code: outcome.exit_code,
            }),
            log: AttemptLog {
                end: log.end,
                truncated: log.truncated,
                sealed: log.sealed,
                chunks_until: log.chunks_until.map(Into::into),
            },
            tests: TestSummary {
                total: tests.total,
                passed: tests.passed,
                failed: tests.failed,
                skipped: tests.skipped,
                flaky: tests.flaky,
            },
            artifacts: ArtifactSummary { count: record.artifacts.count, bytes: record.artifacts.bytes },
            warnings: record.warnings.into_iter().map(Warning::from).collect(),
        }
    }
}

impl From<&Warning> for WarningRecord {
    fn from(warning: &Warning) -> Self {
        Self { code: warning.code.clone(), message: warning.message.clone() }
    }
}

impl From<WarningRecord> for Warning {
    fn from(record: WarningRecord) -> Self {
        Self { code: record.code, message: record.message }
    }
}

impl From<&Reason> for ReasonRecord {
    fn from(reason: &Reason) -> Self {
        Self { code: reason.code, message: reason.message.clone() }
    }
}

impl From<ReasonRecord> for Reason {
    fn from(record: ReasonRecord) -> Self {
        Self { code: record.code, message: record.message }
    }
}

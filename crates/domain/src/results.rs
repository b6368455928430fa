//! Test results: what the tests inside a run said, whatever tool wrote the report.

use serde::{Deserialize, Serialize};

/// How one test ended in one attempt, after the tool's own retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestStatus {
    Passed,
    /// An assertion failed, or the test raised an error.
    Failed,
    Skipped,
    /// Failed at first and passed when the tool retried it.
    Flaky,
}

impl TestStatus {
    pub const ALL: [Self; 4] = [Self::Passed, Self::Failed, Self::Skipped, Self::Flaky];

    /// The stable name used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Flaky => "flaky",
        }
    }

    /// The status with this stable name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// One test's outcome, as reported by the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// Source file or class, as far as the report names one.
    pub file: Option<String>,
    /// Suite, describe block or class path; empty when the report has none.
    pub suite: String,
    pub name: String,
    pub status: TestStatus,
    pub duration_ms: u64,
    /// Failure message (first kilobytes), for anything but a pass.
    pub message: Option<String>,
    /// How often the tool itself tried again.
    pub retries: u32,
}

/// Counts over all results of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestSummary {
    pub total: u32,
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
    pub flaky: u32,
}

impl TestSummary {
    /// Counts `results`.
    pub fn of<'a>(results: impl IntoIterator<Item = &'a TestResult>) -> Self {
        let mut summary = Self::default();
        for result in results {
            summary.total += 1;
            match result.status {
                TestStatus::Passed => summary.passed += 1,
                TestStatus::Failed => summary.failed += 1,
                TestStatus::Skipped => summary.skipped += 1,
                TestStatus::Flaky => summary.flaky += 1,
            }
        }
        summary
    }
}

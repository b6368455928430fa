//! From the reports among an attempt's artifacts to its test results.

use std::cmp::Reverse;
use std::io;
use std::sync::Arc;

use futures::TryStreamExt as _;
use gantry_blobs::{BlobError, BlobKey, Blobs};
use gantry_domain::attempt::Warning;
use gantry_domain::results::{TestResult, TestSummary};
use gantry_reports::{ReportError, ReportFormat, ReportLimits, parse};
use tokio::runtime::Handle;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::packer::Report;

/// Results kept of one attempt; those beyond are counted only.
pub const MAX_RESULTS: usize = 50_000;
/// Unreadable reports that are named; of the others only the number is told.
const MAX_NAMED: usize = 20;

pub const REPORT_UNREADABLE: &str = "report_unreadable";
pub const RESULTS_CUT: &str = "results_cut";

/// What the reports of one attempt say together.
#[derive(Debug, Default)]
pub struct Results {
    /// The first ones, in the order of the reports' paths.
    pub kept: Vec<TestResult>,
    /// Counts all of them.
    pub summary: TestSummary,
    pub warnings: Vec<Warning>,
}

/// Reads every report in the packed blob. Blocks: only for threads that may.
///
/// Reports of Playwright's own format win: tools that write both formats say the same in both.
pub fn read(
    runtime: &Handle,
    blobs: &Arc<dyn Blobs>,
    key: &BlobKey,
    mut reports: Vec<Report>,
) -> Result<Results, BlobError> {
    reports.sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
    reports.sort_by_key(|report| Reverse(report.format == ReportFormat::PlaywrightJson));
    let mut reading = Reading { results: Results::default(), limits: ReportLimits::default(), unreadable: 0 };
    let mut told_by = None;
    for report in &reports {
        if told_by.is_some_and(|format| format != report.format) {
            break;
        }
        let bytes = runtime.block_on(blobs.stream(key, report.entry.range()))?;
        let reader = SyncIoBridge::new_with_handle(
            StreamReader::new(bytes.map_err(io::Error::other)),
            runtime.clone(),
        );
        match parse(report.format, reader, &reading.limits) {
            Ok(results) => {
                if !results.is_empty() {
                    told_by = Some(report.format);
                }
                reading.add(results);
            }
            // The limits are on the report; failing to read it is ours.
            Err(ReportError::Read(error)) => return Err(BlobError::Unavailable(error.to_string())),
            Err(error) => reading.unreadable(report, &error),
        }
    }
    Ok(reading.end())
}

struct Reading {
    results: Results,
    /// What is left of them for further reports.
    limits: ReportLimits,
    unreadable: usize,
}

impl Reading {
    fn add(&mut self, results: Vec<TestResult>) {
        let found = TestSummary::of(&results);
        let sum = &mut self.results.summary;
        sum.total = sum.total.saturating_add(found.total);
        sum.passed = sum.passed.saturating_add(found.passed);
        sum.failed = sum.failed.saturating_add(found.failed);
        sum.skipped = sum.skipped.saturating_add(found.skipped);
        sum.flaky = sum.flaky.saturating_add(found.flaky);
        for result in results {
            let messages = result.message.as_ref().map_or(0, String::len);
            let names = result.name.len() + result.suite.len() + result.file.as_ref().map_or(0, String::len);
            let Some(names_left) = self.limits.names_bytes.checked_sub(names) else { break };
            if self.results.kept.len() == MAX_RESULTS {
                break;
            }
            self.limits.names_bytes = names_left;
            self.limits.messages_bytes = self.limits.messages_bytes.saturating_sub(messages);
            self.results.kept.push(result);
        }
    }

    fn unreadable(&mut self, report: &Report, error: &ReportError) {
        self.unreadable += 1;
        if self.unreadable <= MAX_NAMED {
            let message = format!("{}: {error}.", report.entry.path);
            self.results.warnings.push(Warning::new(REPORT_UNREADABLE, message));
        }
    }

    fn end(mut self) -> Results {
        if self.unreadable > MAX_NAMED {
            let message = format!("{} more test reports could not be read.", self.unreadable - MAX_NAMED);
            self.results.warnings.push(Warning::new(REPORT_UNREADABLE, message));
        }
        let (kept, total) = (self.results.kept.len(), self.results.summary.total);
        if (kept as u64) < u64::from(total) {
            let message =
                format!("There are {total} test results; the first {kept} are kept, all are counted.");
            self.results.warnings.push(Warning::new(RESULTS_CUT, message));
        }
        self.results
    }
}

//! Test reports in general: which files are one, how much of one is read, and why one can't be.

use std::io::{self, Read};

use gantry_domain::results::TestResult;
use serde::{Deserialize, Serialize};

use crate::text::Size;
use crate::{ArtifactPath, junit, playwright};

/// A format that is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportFormat {
    /// JUnit XML, as written by nearly every test tool.
    Junit,
    /// The report of Playwright's `json` reporter.
    PlaywrightJson,
}

/// How much of one report is read and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportLimits {
    /// Bytes of the report.
    pub bytes: u64,
    /// Bytes of one tag or text in it; this is what has to fit into memory at once.
    pub item_bytes: usize,
    /// How deeply elements or suites may be nested.
    pub depth: usize,
    pub results: usize,
    /// Bytes kept of one failure message; the rest is cut off with a marker.
    pub message_bytes: usize,
    /// Bytes kept of all messages together; further ones are left out with a marker.
    pub messages_bytes: usize,
    /// Bytes kept of all names, suites and files together; more is an error.
    pub names_bytes: usize,
}

impl Default for ReportLimits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            item_bytes: 16 << 20,
            depth: 64,
            results: 50_000,
            message_bytes: 8 << 10,
            messages_bytes: 16 << 20,
            names_bytes: 32 << 20,
        }
    }
}

/// Why a report can't be read; one line each, with everything from the report escaped.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("the test report could not be read: {0}")]
    Read(#[source] io::Error),
    #[error("the test report is larger than {}, the limit for one report", Size(*.limit))]
    TooLarge { limit: u64 },
    #[error("the test report has a single tag or text larger than {}", Size(*.limit as u64))]
    ItemTooLarge { limit: usize },
    #[error("the test report has more than {limit} results, the limit for one report")]
    TooManyResults { limit: usize },
    #[error("the names in the test report are larger than {} together", Size(*.limit as u64))]
    NamesTooLarge { limit: usize },
    #[error("the test report is nested more than {limit} levels deep")]
    TooDeep { limit: usize },
    #[error("the test report's encoding \"{found}\" is not supported; write it as UTF-8")]
    Encoding { found: String },
    #[error("the test report is not valid UTF-8 in line {line}")]
    NotUtf8 { line: u64 },
    #[error(
        "the test report declares entities or a document type of its own in line {line}, which is refused"
    )]
    Doctype { line: u64 },
    #[error("the test report is not well-formed XML in line {line}: {reason}")]
    Xml { line: u64, reason: String },
    #[error("the test report is not the JSON expected in line {line}, column {column}: {reason}")]
    Json { line: usize, column: usize, reason: String },
    #[error("the file is not a {expected}: {reason}")]
    NotAReport { expected: &'static str, reason: String },
}

/// How much of a file's beginning [`detect`] should be given.
pub const DETECTION_HEAD_BYTES: usize = 16 << 10;

/// Which report the file at `path` is, by its extension and its beginning `head`.
///
/// JUnit is an `.xml` whose first element is `testsuite(s)`, whatever its encoding or document type, so that
/// [`parse`] can say what is wrong with it. Playwright is a `.json` whose head shows the reporter's own keys.
pub fn detect(path: &ArtifactPath, head: &[u8]) -> Option<ReportFormat> {
    match path.extension().as_deref() {
        Some("xml") if junit::begins(head) => Some(ReportFormat::Junit),
        Some("json") if playwright::begins(head) => Some(ReportFormat::PlaywrightJson),
        _ => None,
    }
}

/// All results of the report in `reader`, in its order.
pub fn parse(
    format: ReportFormat,
    reader: impl Read,
    limits: &ReportLimits,
) -> Result<Vec<TestResult>, ReportError> {
    match format {
        ReportFormat::Junit => junit::parse(reader, limits),
        ReportFormat::PlaywrightJson => playwright::parse(reader, limits),
    }
}

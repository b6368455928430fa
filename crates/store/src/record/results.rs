//! Test results come in thousands and are read a page at a time: they are stored as compressed blocks, each saying which
//! statuses it holds so that a search for failures skips the rest.

use gantry_domain::results::{TestResult, TestStatus};
use serde::{Deserialize, Serialize};

use super::{Record, VERSION, read, write};
use crate::{Result, StoreError};

/// Results in one block.
const BLOCK: usize = 200;
/// No block unpacks to more than this: messages are cut to kilobytes before they get here.
const MAX_BLOCK_BYTES: usize = 64 * 1024 * 1024;

/// Some consecutive results of an attempt.
pub(crate) struct ResultBlock {
    /// Position of the first one.
    pub first: u32,
    pub count: u32,
    /// A [`status_bit`] for every status inside.
    pub statuses: u8,
    pub body: Vec<u8>,
}

/// The bit that says that a block has results with this status.
pub(crate) fn status_bit(status: TestStatus) -> u8 {
    match status {
        TestStatus::Passed => 1,
        TestStatus::Failed => 2,
        TestStatus::Skipped => 4,
        TestStatus::Flaky => 8,
    }
}

#[derive(Serialize, Deserialize)]
struct BlockRecord {
    v: u32,
    results: Vec<ResultRecord>,
}

impl Record for BlockRecord {
    const KIND: &'static str = "test result";
    fn version(&self) -> u32 {
        self.v
    }
}

#[derive(Serialize, Deserialize)]
struct ResultRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    suite: String,
    name: String,
    status: TestStatus,
    duration_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "super::is_default")]
    retries: u32,
}

pub(crate) fn encode_results(results: &[TestResult]) -> Result<Vec<ResultBlock>> {
    let mut first = 0;
    let mut blocks = Vec::with_capacity(results.len().div_ceil(BLOCK));
    for part in results.chunks(BLOCK) {
        let record = BlockRecord { v: VERSION, results: part.iter().map(ResultRecord::from).collect() };
        let body = zstd::bulk::compress(&write(&record)?, 1)
            .map_err(|error| StoreError::Corrupt(format!("test results cannot be compressed: {error}")))?;
        let statuses = part.iter().fold(0, |bits, result| bits | status_bit(result.status));
        blocks.push(ResultBlock { first, count: part.len() as u32, statuses, body });
        first += part.len() as u32;
    }
    Ok(blocks)
}

pub(crate) fn decode_results(body: &[u8]) -> Result<Vec<TestResult>> {
    let json = zstd::bulk::decompress(body, capacity(body))
        .map_err(|error| StoreError::Corrupt(format!("test results cannot be unpacked: {error}")))?;
    let record: BlockRecord = read(&json)?;
    Ok(record.results.into_iter().map(TestResult::from).collect())
}

fn capacity(body: &[u8]) -> usize {
    let stated = zstd::zstd_safe::get_frame_content_size(body).ok().flatten();
    stated.and_then(|size| usize::try_from(size).ok()).unwrap_or(MAX_BLOCK_BYTES).min(MAX_BLOCK_BYTES)
}

impl From<&TestResult> for ResultRecord {
    fn from(result: &TestResult) -> Self {
        let result = result.clone();
        Self {
            file: result.file,
            suite: result.suite,
            name: result.name,
            status: result.status,
            duration_ms: result.duration_ms,
            message: result.message,
            retries: result.retries,
        }
    }
}

impl From<ResultRecord> for TestResult {
    fn from(record: ResultRecord) -> Self {
        Self {
            file: record.file,
            suite: record.suite,
            name: record.name,
            status: record.status,
            duration_ms: record.duration_ms,
            message: record.message,
            retries: record.retries,
        }
    }
}

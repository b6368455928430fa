//! The report of Playwright's `json` reporter: suites in suites (the outermost is a file), specs in them, one test per
//! project and spec, one result per try.
//!
//! A test's name is its title; its suite is the project, if it has a name, and the describe blocks, as Playwright prints
//! them: `[chromium] › Login`. Its duration is the last try's, so that a retry doesn't look like a slow test. Errors
//! outside of any test (a file that doesn't load, a global set-up that fails) become failed results of their own.

mod spec;
mod suites;

use std::io::Read;

use gantry_domain::results::TestResult;
use serde::de::DeserializeSeed;

use crate::bounded::{Exceeded, JsonInput};
use crate::text::escaped;
use crate::{ReportError, ReportLimits};
use suites::{Report, Walk};

const EXPECTED: &str = "Playwright JSON report";

/// Reads the report to its end; one that breaks off or is broken anywhere gives no results.
pub fn parse(reader: impl Read, limits: &ReportLimits) -> Result<Vec<TestResult>, ReportError> {
    let mut json =
        serde_json::Deserializer::from_reader(JsonInput::new(reader, limits.bytes, limits.item_bytes));
    let mut walk = Walk::new(limits);
    let outcome = Report(&mut walk).deserialize(&mut json).and_then(|()| json.end());
    match (walk.refusal.take(), outcome) {
        (Some(refusal), _) => Err(refusal),
        (None, Err(error)) => Err(json_error(error, limits)),
        (None, Ok(())) if !walk.suites_seen => {
            Err(ReportError::NotAReport { expected: EXPECTED, reason: "it has no suites".to_owned() })
        }
        (None, Ok(())) => Ok(walk.finish()),
    }
}

/// Whether `head` is the beginning of a JSON object with the keys of this reporter.
pub fn begins(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    if head.trim_ascii_start().first() != Some(&b'{') {
        return false;
    }
    let has = |key: &str| head.windows(key.len()).any(|window| window == key.as_bytes());
    has("\"config\"") && (has("\"forbidOnly\"") || has("\"rootDir\""))
        || has("\"suites\"") && has("\"specs\"")
}

fn json_error(error: serde_json::Error, limits: &ReportLimits) -> ReportError {
    let (line, column) = (error.line(), error.column());
    if !error.is_io() {
        let reason = error.to_string();
        // The position is said in words of its own.
        let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
        return ReportError::Json { line, column, reason: escaped(reason) };
    }
    let error = std::io::Error::from(error);
    match Exceeded::behind(&error) {
        Some(Exceeded::Total) => ReportError::TooLarge { limit: limits.bytes },
        Some(Exceeded::Item) => ReportError::ItemTooLarge { limit: limits.item_bytes },
        None => ReportError::Read(error),
    }
}

//! Colours, as escape sequences that `anstream` removes wherever they are not wanted.

use gantry_api_types::run::{Status, TestStatus};

pub const BOLD: &str = "\x1b[1m";
pub const DIM: &str = "\x1b[2m";
pub const RED: &str = "\x1b[31m";
pub const GREEN: &str = "\x1b[32m";
pub const YELLOW: &str = "\x1b[33m";
pub const BLUE: &str = "\x1b[34m";
pub const RESET: &str = "\x1b[0m";
/// Back to the line's beginning, and the line is empty.
pub const CLEAR_LINE: &str = "\r\x1b[2K";

/// The colour of a status.
pub fn of_status(status: Status) -> &'static str {
    match status {
        Status::Passed => GREEN,
        Status::Failed | Status::Error | Status::TimedOut => RED,
        Status::Unstable => YELLOW,
        Status::Running | Status::Analyzing => BLUE,
        Status::Pending | Status::Queued | Status::Cancelled => DIM,
    }
}

pub fn of_test(status: TestStatus) -> &'static str {
    match status {
        TestStatus::Passed => GREEN,
        TestStatus::Failed => RED,
        TestStatus::Flaky => YELLOW,
        TestStatus::Skipped => DIM,
    }
}

/// A status as people read it.
pub fn words(status: Status) -> &'static str {
    match status {
        Status::TimedOut => "timed out",
        other => other.as_str(),
    }
}

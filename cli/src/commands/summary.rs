//! How a run ended, in a few lines and as an exit code.

use std::io::{self, Write as _};

use gantry_api_types::run::{Run, Status, TestResult};

use super::show::failed_test;

use crate::terminal::style::{self, BOLD, DIM, RESET};
use crate::terminal::{human, text};

const TIMED_OUT: u8 = 124;
const CANCELLED: u8 = 130;
/// `EX_SOFTWARE` of sysexits.h: Gantry or the infrastructure, not the command.
const ERROR: u8 = 70;

/// What `gantry run` exits with.
pub fn exit_code(run: &Run) -> u8 {
    let own = run.exit_code.and_then(|code| u8::try_from(code).ok());
    match run.status {
        Status::Passed | Status::Unstable => own.unwrap_or(0),
        // Killed for its memory, a command may still have ended with 0.
        Status::Failed => own.filter(|&code| code != 0).unwrap_or(1),
        Status::TimedOut => TIMED_OUT,
        Status::Cancelled => CANCELLED,
        Status::Error => ERROR,
        Status::Pending | Status::Queued | Status::Running | Status::Analyzing => ERROR,
    }
}

/// `#42 failed in 5.1 s (exit code 3), 1 of 10 tests failed`, why, and where to look.
pub fn print(run: &Run, failed: &[TestResult]) -> io::Result<()> {
    let mut out = anstream::stderr().lock();
    let colour = style::of_status(run.status);
    write!(out, "{BOLD}{colour}#{} {}{RESET}", run.number, style::words(run.status))?;
    if let Some(ms) = run.duration_ms {
        write!(out, " after {}", human::millis(ms))?;
    }
    if let Some(code) = run.exit_code.filter(|&code| code != 0) {
        write!(out, ", exit code {code}")?;
    }
    if let Some(tests) = tests(run) {
        write!(out, ", {tests}")?;
    }
    if run.attempt > 1 {
        write!(out, ", attempt {}", run.attempt)?;
    }
    writeln!(out)?;
    if let Some(reason) = run.reason.as_ref().filter(|_| run.status != Status::Passed) {
        writeln!(out, "  {}", text::lines(&reason.message))?;
        writeln!(out, "  {}", text::lines(&reason.hint))?;
    }
    failed.iter().try_for_each(|test| failed_test(&mut out, test))?;
    for warning in &run.warnings {
        writeln!(out, "  {}warning:{RESET} {}", style::YELLOW, text::lines(&warning.message))?;
    }
    writeln!(out, "  {DIM}{}{RESET}", where_to_look(run))?;
    out.flush()
}

/// The tests in a phrase; `None` without tests.
pub fn tests(run: &Run) -> Option<String> {
    let tests = &run.tests;
    if tests.total == 0 {
        return None;
    }
    let mut parts = vec![format!("{} of {} tests passed", tests.passed, tests.total)];
    for (count, what) in [(tests.failed, "failed"), (tests.flaky, "flaky"), (tests.skipped, "skipped")] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    Some(parts.join(", "))
}

fn where_to_look(run: &Run) -> String {
    let number = run.number;
    let mut commands = vec![format!("gantry show {number}")];
    if run.tests.failed > 0 {
        commands.push(format!("gantry tests {number} --failed"));
    }
    if run.artifacts.count > 0 {
        commands.push(format!("gantry artifacts {number} -o DIR"));
    }
    if !matches!(run.status, Status::Passed) {
        commands.push(format!("gantry rerun {number} --follow"));
    }
    format!("More: {}", commands.join(" · "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: &str, exit_code: Option<i64>) -> Run {
        let none = serde_json::Value::Null;
        let counts = serde_json::json!({"total": 4, "passed": 2, "failed": 1, "skipped": 1, "flaky": 0});
        serde_json::from_value(serde_json::json!({
            "id": "run_x", "number": 42, "status": status, "reason": none, "project": none, "image": "busybox",
            "command": none, "folder": none, "environment": none, "group": none, "labels": {}, "pool": "default",
            "priority": "normal", "trigger": {"kind": "api", "actor": "system", "rerun_of": none, "ci": none},
            "attempt": 1, "max_attempts": 1, "exit_code": exit_code, "created_at": "2026-01-01T00:00:00Z",
            "queued_at": none, "started_at": none, "finished_at": none, "duration_ms": 1, "worker": none,
            "tests": counts, "artifacts": {"count": 0, "bytes": 0}, "log_bytes": 0, "waiting": none, "warnings": [],
            "cancelling": false, "links": {"self": "", "web": ""},
            "spec": {"base_url": none, "variables": {}, "secrets": [], "timeout_seconds": 1, "retries": {},
                "at_most_once": false, "resources": {}, "artifacts": [], "workdir": none},
        }))
        .unwrap()
    }

    #[test]
    fn the_exit_code_is_the_runs_own() {
        for (status, own, wanted) in [
            ("passed", Some(0), 0),
            ("unstable", Some(0), 0),
            ("failed", Some(3), 3),
            ("failed", Some(137), 137),
            ("failed", Some(0), 1),
            ("failed", Some(256), 1),
            ("failed", Some(-1), 1),
            ("failed", None, 1),
            ("timed_out", Some(137), 124),
            ("cancelled", Some(143), 130),
            ("error", None, 70),
        ] {
            assert_eq!(exit_code(&ended(status, own)), wanted, "{status} {own:?}");
        }
    }

    #[test]
    fn tests_are_told_in_a_phrase() {
        assert_eq!(tests(&ended("failed", Some(1))).unwrap(), "2 of 4 tests passed, 1 failed, 1 skipped");
    }
}

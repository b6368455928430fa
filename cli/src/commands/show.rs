//! `gantry show`: everything about a run on one screen.

use std::io::{self, Write as _};

use gantry_api_types::run::{Attempt, Run, Status, TestResult, TestStatus};
use gantry_client::{ApiClient, TestFilter};

use super::runs::shell_words;
use super::{now, summary};
use crate::args::{Output, ShowArgs};
use crate::failure::Failure;
use crate::run_name::id_of;
use crate::terminal::style::{BOLD, DIM, RED, RESET, YELLOW, of_status, words};
use crate::terminal::{human, json, text};

/// Failed tests that are shown; `gantry tests` has all.
const FAILED_SHOWN: u32 = 5;

pub async fn run(client: &ApiClient, output: Output, args: &ShowArgs) -> Result<(), Failure> {
    let run = args.run.find(client).await?;
    if output == Output::Json {
        return json::print(&run);
    }
    let id = id_of(&run)?;
    let attempts = if run.attempt > 0 { client.attempts(id).await?.items } else { Vec::new() };
    let failed = if run.tests.failed > 0 {
        let filter =
            TestFilter { statuses: vec![TestStatus::Failed], limit: Some(FAILED_SHOWN), cursor: None };
        client.tests(id, &filter).await?.items
    } else {
        Vec::new()
    };
    let mut out = anstream::stdout().lock();
    head(&mut out, &run)?;
    facts(&mut out, &run)?;
    if attempts.len() > 1 {
        writeln!(out, "\n{BOLD}Attempts{RESET}")?;
        attempts.iter().try_for_each(|attempt| one_attempt(&mut out, attempt))?;
    }
    if !failed.is_empty() {
        writeln!(out, "\n{BOLD}Failed tests{RESET}")?;
        failed.iter().try_for_each(|test| failed_test(&mut out, test))?;
        if run.tests.failed > FAILED_SHOWN {
            let more = run.tests.failed - FAILED_SHOWN;
            writeln!(out, "  {DIM}and {more} more: gantry tests {} --failed{RESET}", run.number)?;
        }
    }
    Ok(out.flush()?)
}

fn head(out: &mut impl io::Write, run: &Run) -> io::Result<()> {
    let colour = of_status(run.status);
    writeln!(out, "{BOLD}Run #{}{RESET}  {colour}{}{RESET}", run.number, words(run.status))?;
    if let Some(reason) = run.reason.as_ref().filter(|_| run.status != Status::Passed) {
        writeln!(out, "  {}", text::lines(&reason.message))?;
        writeln!(out, "  {DIM}{}{RESET}", text::lines(&reason.hint))?;
    }
    if let Some(waiting) = &run.waiting {
        writeln!(out, "  {}", text::line(&waiting.message))?;
    }
    if run.cancelling {
        writeln!(out, "  It is being cancelled.")?;
    }
    for warning in &run.warnings {
        writeln!(out, "  {YELLOW}warning:{RESET} {}", text::lines(&warning.message))?;
    }
    Ok(())
}

fn facts(out: &mut impl io::Write, run: &Run) -> io::Result<()> {
    let now = now();
    let time = |at: Option<_>| at.map(|at| human::time(at, now));
    let labels =
        run.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ");
    let files = run.artifacts;
    let artifacts = (files.count > 0)
        .then(|| format!("{}, {}", human::count(files.count.into(), "file"), human::bytes(files.bytes)));
    let attempt = (run.attempt > 0).then(|| format!("{} of at most {}", run.attempt, run.max_attempts));
    let facts = [
        ("Id", Some(run.id.clone())),
        ("Project", run.project.clone()),
        ("Image", run.image.clone()),
        ("Command", run.command.as_ref().map(|command| shell_words(command))),
        ("Folder", run.folder.clone()),
        ("Workdir", run.spec.workdir.clone()),
        ("Environment", run.environment.clone()),
        ("Group", run.group.clone()),
        ("Labels", Some(labels).filter(|labels| !labels.is_empty())),
        ("Rerun of", run.trigger.rerun_of.clone()),
        ("Exit code", run.exit_code.map(|code| code.to_string())),
        ("Tests", summary::tests(run)),
        ("Artifacts", artifacts),
        ("Log", run.log_bytes.map(human::bytes)),
        ("Duration", run.duration_ms.map(human::millis)),
        ("Created", time(Some(run.created_at))),
        ("Started", time(run.started_at)),
        ("Finished", time(run.finished_at)),
        ("Attempt", attempt),
        ("Worker", run.worker.clone()),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            writeln!(out, "  {DIM}{name:<12}{RESET} {}", text::line(&value))?;
        }
    }
    Ok(())
}

fn one_attempt(out: &mut impl io::Write, attempt: &Attempt) -> io::Result<()> {
    let (colour, status) = match attempt.status {
        Some(status) => (of_status(status), words(status)),
        None => ("", "going on"),
    };
    write!(out, "  {:>2}  {colour}{status:<10}{RESET}", attempt.number)?;
    if let Some(ms) = attempt.execute_ms {
        write!(out, "  {:>10}", human::millis(ms))?;
    }
    if let Some(reason) = &attempt.reason {
        write!(out, "  {}", text::line(&reason.message))?;
    }
    writeln!(out)
}

/// A failed test: where it is, and the beginning of what it said.
pub fn failed_test(out: &mut impl io::Write, test: &TestResult) -> io::Result<()> {
    let name = format!("{} › {}", test.suite, test.name);
    let name = if test.suite.is_empty() { test.name.as_str() } else { &name };
    write!(out, "  {RED}✗{RESET} {}", text::line(name))?;
    if let Some(file) = &test.file {
        write!(out, "  {DIM}{}{RESET}", text::line(file))?;
    }
    writeln!(out)?;
    let message = test.message.as_deref().unwrap_or_default();
    for line in message.lines().filter(|line| !line.trim().is_empty()).take(3) {
        writeln!(out, "      {}", text::line(line))?;
    }
    Ok(())
}

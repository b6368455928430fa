//! What a fake attempt does.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use gantry_domain::log::LogStream;
use tokio_util::sync::CancellationToken;

use crate::ExecutorError;

/// A point that holds a fake attempt until a test opens it; clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(CancellationToken);

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everything through, now and later.
    pub fn open(&self) {
        self.0.cancel();
    }

    pub async fn passed(&self) {
        self.0.cancelled().await;
    }
}

/// How `prepare` goes.
#[derive(Debug, Clone, Default)]
pub enum Prepare {
    #[default]
    Succeed,
    Fail(ExecutorError),
    /// Returns once the gate opens, like a slow pull.
    Hold(Gate),
}

/// One thing the fake command does; steps follow one another.
#[derive(Debug, Clone)]
pub enum Step {
    Print(LogStream, Bytes),
    /// Prints this many bytes (`x`, 32 KiB at a time) to stdout.
    Fill(u64),
    Sleep(Duration),
    Hold(Gate),
    /// Leaves a file to be collected, relative to the working directory, or absolute.
    Write(String, Bytes),
    /// Prints its environment, one `NAME=value` a line.
    PrintEnvironment,
    /// Appends a line with the run and the attempt to a file that is there already.
    Effect(PathBuf),
}

/// Everything one fake attempt does. The default is the cheapest: it exits 0 at once and prints nothing.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// Lines for the run's log during `prepare`.
    pub progress: Vec<String>,
    pub prepare: Prepare,
    /// `start` fails with this, as for a missing command.
    pub refuse_start: Option<ExecutorError>,
    pub steps: Vec<Step>,
    /// The exit code after the last step.
    pub exit_code: i64,
    pub oom_killed: bool,
    /// Goes on after a polite stop; only force (exit 137) ends it.
    pub ignores_stop: bool,
    /// `wait` fails with this instead of an exit: the engine died.
    pub lose_exit: Option<ExecutorError>,
}

impl Script {
    pub fn exits(code: i64) -> Self {
        Self { exit_code: code, ..Self::default() }
    }

    pub fn fails_to_prepare(error: ExecutorError) -> Self {
        Self { prepare: Prepare::Fail(error), ..Self::default() }
    }

    #[must_use]
    pub fn prints(mut self, text: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Print(LogStream::Stdout, text.into()));
        self
    }

    #[must_use]
    pub fn prints_error(mut self, text: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Print(LogStream::Stderr, text.into()));
        self
    }

    #[must_use]
    pub fn sleeps(mut self, duration: Duration) -> Self {
        self.steps.push(Step::Sleep(duration));
        self
    }

    #[must_use]
    pub fn holds(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Hold(gate.clone()));
        self
    }

    #[must_use]
    pub fn writes(mut self, path: impl Into<String>, content: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Write(path.into(), content.into()));
        self
    }

    #[must_use]
    pub fn ignores_stop(mut self) -> Self {
        self.ignores_stop = true;
        self
    }
}

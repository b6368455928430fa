//! How an attempt is carried out: one trait, and the backends behind it.
//!
//! The worker decides *what* happens and when (deadlines, cancel, what a result means); an executor only knows *how*:
//! `prepare → start → (output) → wait → collect → destroy`. One contract suite (`tests/contract`) holds
//! for all of them.

pub mod docker;
pub mod fake;
mod pattern;
pub mod process;
mod tar_filter;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use gantry_domain::id::{InstallationId, OrganizationId, RunId, WorkerId};
use gantry_domain::log::LogStream;
use gantry_domain::spec::{Network, Resources};
use gantry_domain::worker::ExecutorKind;

/// Names one attempt on an engine or host that other attempts, workers and installations share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptKey {
    pub run: RunId,
    pub attempt: u32,
}

/// Whose containers and processes these are; carried as labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub installation: InstallationId,
    pub worker: WorkerId,
}

/// Everything an executor needs to carry out one attempt.
#[derive(Debug, Clone)]
pub struct AttemptSpec {
    pub key: AttemptKey,
    pub organization: OrganizationId,
    pub image: Option<String>,
    /// `None`: `/bin/sh /app/entrypoint.sh <folder>` from `/app`.
    pub command: Option<Vec<String>>,
    pub folder: Option<String>,
    /// The whole environment the command gets from Gantry, secrets included.
    pub environment: BTreeMap<String, String>,
    pub resources: Resources,
    pub network: Network,
    /// Which of the worker's slots this attempt occupies; slots own networks.
    pub slot: u32,
    /// Host directory to run in; `process` only.
    pub workdir: Option<PathBuf>,
    /// By which the attempt's container is found from its trace, and back.
    pub trace_id: Option<String>,
}

/// A piece of the command's output, in the order it was written to its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub stream: LogStream,
    pub bytes: Bytes,
}

/// Raw output of a started command; ends when both streams are at their end. Not reading it slows the command down.
pub type OutputStream = BoxStream<'static, Result<Output, ExecutorError>>;

/// One uncompressed tar of what was collected.
pub type TarStream = BoxStream<'static, Result<Bytes, ExecutorError>>;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// 128 + n when signal n ended it.
    pub code: i64,
    /// The kernel killed the command or one of its children for lack of memory.
    pub oom_killed: bool,
}

/// Why an executor could not do its part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorError {
    #[error("{0}")]
    BadCommand(String),
    #[error("{0}")]
    ImageNotFound(String),
    #[error("{0}")]
    ImageDenied(String),
    #[error("{0}")]
    RegistryUnreachable(String),
    /// The engine, the disk or the host failed; another attempt may work.
    #[error("{0}")]
    Infrastructure(String),
    /// The specification asks for what this executor does not do.
    #[error("{0}")]
    Unsupported(String),
    /// The caller broke the order of calls: a defect, never bad luck.
    #[error("wrong call order: {0}")]
    CallOrder(String),
}

/// Lines for the run's log while an attempt is prepared, such as pull progress. Must not block for long.
pub trait Progress: Send + Sync {
    fn line(&self, text: String);
}

/// Carries out attempts. All calls are bounded in time; the futures may be dropped at any point, after which only
/// [`Executor::destroy`] may follow for that attempt.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    fn kind(&self) -> ExecutorKind;

    /// Gets the image, workspace and network ready; nothing of the user's runs yet. Once per attempt.
    async fn prepare(&self, attempt: &AttemptSpec, progress: &dyn Progress) -> Result<(), ExecutorError>;

    /// Starts the command. No output is lost between start and the first read of the stream. Once, after `prepare`.
    async fn start(&self, key: AttemptKey) -> Result<OutputStream, ExecutorError>;

    /// Waits for the command's end, unbounded. After `start`; may be called again and then says the same.
    async fn wait(&self, key: AttemptKey) -> Result<Exit, ExecutorError>;

    /// Ends the command: politely, then after `grace` by force. A command that is gone already is fine; before `start` it
    /// is fine too. When it returns the command no longer runs, or an error says why.
    async fn stop(&self, key: AttemptKey, grace: Duration) -> Result<(), ExecutorError>;

    /// Streams what matches `paths` (paths or globs, relative to the working directory or absolute) as one tar whose
    /// entry names are the matched paths, relative to the working directory, or to `/`. Nothing matched: an
    /// empty tar. After `wait`.
    async fn collect(&self, key: AttemptKey, paths: &[String]) -> Result<TarStream, ExecutorError>;

    /// Removes every trace of the attempt. Always safe: before, during or after anything, twice, or for an unknown key.
    async fn destroy(&self, key: AttemptKey) -> Result<(), ExecutorError>;

    /// Attempts of this installation that still have a trace on this engine or host, whichever worker made them.
    async fn leftovers(&self) -> Result<Vec<AttemptKey>, ExecutorError>;

    /// Whether the engine answers, and what it calls itself; a sentence for people.
    async fn check(&self) -> Result<String, ExecutorError>;

    /// Frees disk space by removing what can be had again, such as images no attempt uses; called when space runs out.
    async fn prune(&self) -> Result<(), ExecutorError> {
        Ok(())
    }
}

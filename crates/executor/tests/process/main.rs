//! What only the `process` executor promises: nothing outlives its worker, and the host is no open book.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod collecting;
mod limits;
mod survivors;
mod workspace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt as _;
use gantry_domain::id::{InstallationId, OrganizationId, RunId, WorkerId};
use gantry_domain::log::LogStream;
use gantry_domain::spec::{Network, Resources};
use gantry_executor::process::{ProcessExecutor, ProcessOptions, ShimProgram};
use gantry_executor::{
    AttemptKey, AttemptSpec, Executor, ExecutorError, Exit, OutputStream, Owner, Progress,
};

/// Long enough for a loaded machine; only a failing test waits it out.
const LIMIT: Duration = Duration::from_secs(60);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it never happened")
}

/// Waits for something the kernel does in its own time.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("it never happened: {what}"));
}

fn executor(root: &Path, installation: InstallationId) -> ProcessExecutor {
    let owner = Owner { installation, worker: WorkerId::new() };
    let shim = ShimProgram { program: env!("CARGO_BIN_EXE_gantry-shim").into(), args: vec![] };
    ProcessExecutor::new(ProcessOptions { root: root.to_owned(), owner, shim }).unwrap()
}

/// A directory and an executor that works in it.
struct Host {
    root: tempfile::TempDir,
    executor: ProcessExecutor,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let executor = executor(&root.path().join("work"), InstallationId::new());
        Self { root, executor }
    }

    fn directory_of(&self, key: AttemptKey) -> PathBuf {
        self.root.path().join("work").join(format!("{}-{}", key.run, key.attempt))
    }

    async fn start(&self, spec: &AttemptSpec) -> Result<OutputStream, ExecutorError> {
        soon(self.executor.prepare(spec, &Lines::default())).await?;
        soon(self.executor.start(spec.key)).await
    }

    async fn run(&self, spec: &AttemptSpec) -> Ran {
        let output = self.start(spec).await.unwrap();
        let mut ran = Ran::default();
        for piece in soon(output.collect::<Vec<_>>()).await {
            let piece = piece.unwrap();
            let text = match piece.stream {
                LogStream::Stdout => &mut ran.out,
                LogStream::Stderr => &mut ran.err,
                LogStream::System => &mut ran.system,
            };
            text.push_str(std::str::from_utf8(&piece.bytes).unwrap());
        }
        ran.exit = Some(soon(self.executor.wait(spec.key)).await.unwrap());
        ran
    }
}

#[derive(Debug, Default)]
struct Ran {
    out: String,
    err: String,
    system: String,
    exit: Option<Exit>,
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Progress for Lines {
    fn line(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

fn command(words: &[&str]) -> AttemptSpec {
    AttemptSpec {
        key: AttemptKey { run: RunId::new(), attempt: 1 },
        organization: OrganizationId::new(),
        image: None,
        command: Some(words.iter().map(|&word| word.to_owned()).collect()),
        folder: None,
        environment: BTreeMap::new(),
        resources: Resources { cpu_millis: 1000, memory_mb: 512, pids: 64 },
        slot: 0,
        network: Network::Outside,
        workdir: None,
        trace_id: None,
    }
}

fn shell(script: &str) -> AttemptSpec {
    command(&["sh", "-c", script])
}

/// Whether a process is there and not merely waiting to be reaped.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn kill(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

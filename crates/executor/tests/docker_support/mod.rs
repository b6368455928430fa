//! A real engine for the tests, and attempts on it. Without an engine the tests fail.

#![allow(dead_code, reason = "every test binary uses its own part of it")]

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt};
use gantry_domain::id::{InstallationId, OrganizationId, RunId, WorkerId};
use gantry_domain::log::LogStream;
use gantry_domain::spec::{Network, Resources};
use gantry_executor::docker::{DEFAULT_HOST, DockerExecutor, DockerOptions, NetworkOptions};
use gantry_executor::{AttemptKey, AttemptSpec, Executor, ExecutorError, Exit, Owner, Progress};

pub const BUSYBOX: &str = "busybox:1.36";
/// Busybox with `/app/entrypoint.sh` and a file that cannot be executed.
pub const TEST_IMAGE: &str = "gantry-test:1";
/// Longer than anything here takes.
pub const GENEROUS: Duration = Duration::from_secs(60);

pub fn host() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| DEFAULT_HOST.to_owned())
}

pub fn options() -> DockerOptions {
    let owner = Owner { installation: InstallationId::new(), worker: WorkerId::new() };
    let mut options = DockerOptions::new(host(), owner);
    // Making networks takes longer than most tests; those about networks switch them on.
    options.network = NetworkOptions::None;
    options
}

pub async fn connect(options: DockerOptions) -> DockerExecutor {
    DockerExecutor::connect(options).await.unwrap_or_else(|error| {
        panic!("these tests need a Docker engine: run `scripts/services start docker` ({error})")
    })
}

/// Runs a test and removes whatever it left on the engine, also when it fails.
pub async fn with(options: DockerOptions, test: impl AsyncFnOnce(Arc<DockerExecutor>)) {
    let docker = Arc::new(connect(options).await);
    let outcome = std::panic::AssertUnwindSafe(test(Arc::clone(&docker))).catch_unwind().await;
    for key in docker.leftovers().await.unwrap() {
        docker.destroy(key).await.unwrap();
    }
    docker.close().await.unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

pub fn spec(command: &[&str]) -> AttemptSpec {
    AttemptSpec {
        key: AttemptKey { run: RunId::new(), attempt: 1 },
        organization: OrganizationId::new(),
        image: Some(BUSYBOX.to_owned()),
        command: Some(command.iter().map(|&word| word.to_owned()).collect()),
        folder: None,
        environment: BTreeMap::new(),
        resources: Resources { cpu_millis: 1000, memory_mb: 64, pids: 64 },
        slot: 0,
        network: Network::Outside,
        workdir: None,
        trace_id: None,
    }
}

pub fn shell(script: &str) -> AttemptSpec {
    spec(&["sh", "-c", script])
}

/// Keeps the lines it is given.
#[derive(Default)]
pub struct Lines(Mutex<Vec<String>>);

impl Progress for Lines {
    fn line(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl Lines {
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[derive(Debug, Default)]
pub struct Ran {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Option<Exit>,
}

impl Ran {
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
    pub fn code(&self) -> i64 {
        self.exit.unwrap().code
    }
}

/// Carries an attempt out up to its end, and leaves the container there.
pub async fn run(docker: &DockerExecutor, spec: &AttemptSpec) -> Result<Ran, ExecutorError> {
    docker.prepare(spec, &Lines::default()).await?;
    let mut output = docker.start(spec.key).await?;
    let mut ran = Ran::default();
    while let Some(piece) = output.next().await {
        let piece = piece?;
        match piece.stream {
            LogStream::Stdout => ran.stdout.extend_from_slice(&piece.bytes),
            LogStream::Stderr => ran.stderr.extend_from_slice(&piece.bytes),
            LogStream::System => panic!("an executor writes no system lines"),
        }
    }
    ran.exit = Some(docker.wait(spec.key).await?);
    Ok(ran)
}

/// Carries an attempt out and removes it.
pub async fn run_once(docker: &DockerExecutor, spec: &AttemptSpec) -> Result<Ran, ExecutorError> {
    let ran = run(docker, spec).await;
    docker.destroy(spec.key).await.unwrap();
    ran
}

/// Names and contents of what was collected, sorted by name.
pub async fn collected(docker: &DockerExecutor, key: AttemptKey, paths: &[&str]) -> Vec<(String, Vec<u8>)> {
    let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
    let pieces: Vec<bytes::Bytes> = docker.collect(key, &paths).await.unwrap().try_collect().await.unwrap();
    let archive = pieces.concat();
    let mut files = Vec::new();
    for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().entry_type(), tar::EntryType::Regular);
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        files.push((name, data));
    }
    files.sort();
    files
}

/// The engine itself, to look behind the executor's back.
pub fn engine() -> bollard::Docker {
    bollard::Docker::connect_with_host(&host()).unwrap()
}

pub fn container_name(spec: &AttemptSpec) -> String {
    format!("gantry-{}-{}", spec.key.run, spec.key.attempt).to_lowercase()
}

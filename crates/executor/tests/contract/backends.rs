//! The executors the suite runs against.

use std::sync::Arc;

use futures::future::BoxFuture;
use gantry_domain::id::{InstallationId, WorkerId};
use gantry_executor::docker::{DEFAULT_HOST, DockerExecutor, DockerOptions, NetworkOptions};
use gantry_executor::fake::FakeExecutor;
use gantry_executor::process::{ProcessExecutor, ProcessOptions, ShimProgram};
use gantry_executor::{Executor, Owner};

use crate::{Act, Backend};

/// How a POSIX shell does it.
fn shell(act: &Act) -> Vec<String> {
    let octal = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\{byte:03o}")).collect::<String>();
    let script = match act {
        Act::Exit(code) => format!("exit {code}"),
        Act::Print { out, err } => format!("printf '{}'; printf '{}' >&2", octal(out), octal(err)),
        Act::Signal(signal) => format!("kill -{signal} $$"),
        Act::Missing => return vec!["gantry-has-no-such-command".to_owned(), "argument".to_owned()],
        Act::Run => "trap 'exit 143' TERM; echo ready; while :; do sleep 0.05; done".to_owned(),
        Act::RunStubbornly => "trap '' TERM; echo ready; while :; do sleep 0.05; done".to_owned(),
        Act::Fill(bytes) => format!("head -c {bytes} /dev/zero | tr '\\000' x"),
        Act::PrintEnvironment => return vec!["env".to_owned()],
        Act::Write(files) => files
            .iter()
            .map(|(path, text)| {
                format!("mkdir -p \"$(dirname '{path}')\"; printf '%s' '{text}' > '{path}'\n")
            })
            .collect(),
    };
    vec!["sh".to_owned(), "-c".to_owned(), script]
}

pub struct Fake(Arc<dyn Executor>);

pub async fn fake() -> Fake {
    Fake(Arc::new(FakeExecutor::new()))
}

impl Backend for Fake {
    fn executor(&self) -> &Arc<dyn Executor> {
        &self.0
    }

    fn other_worker(&self) -> Arc<dyn Executor> {
        Arc::clone(&self.0)
    }

    fn command(&self, act: &Act) -> Vec<String> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        match act {
            Act::Exit(code) => vec![format!("fake:exit={code}")],
            Act::Print { out, err } => {
                vec![format!("fake:out={}", hex(out)), format!("fake:err={}", hex(err))]
            }
            Act::Signal(signal) => vec![format!("fake:signal={signal}")],
            Act::Missing => vec!["fake:start=bad_command".to_owned()],
            Act::Run => vec!["fake:out=ready\\n".to_owned(), "fake:hang".to_owned()],
            Act::RunStubbornly => {
                ["fake:out=ready\\n", "fake:hang", "fake:ignore-stop"].map(str::to_owned).into()
            }
            Act::Fill(bytes) => vec![format!("fake:fill={bytes}")],
            Act::PrintEnvironment => vec!["fake:env".to_owned()],
            Act::Write(files) => {
                files.iter().map(|(path, text)| format!("fake:write={path}={text}")).collect()
            }
        }
    }

    fn extra_variables(&self) -> &'static [&'static str] {
        &[]
    }
}

pub struct Process {
    executor: Arc<dyn Executor>,
    options: ProcessOptions,
    _root: tempfile::TempDir,
}

pub async fn process() -> Process {
    let root = tempfile::tempdir().unwrap();
    let options = ProcessOptions {
        root: root.path().join("work"),
        owner: Owner { installation: InstallationId::new(), worker: WorkerId::new() },
        shim: ShimProgram { program: env!("CARGO_BIN_EXE_gantry-shim").into(), args: vec![] },
    };
    let executor = Arc::new(ProcessExecutor::new(options.clone()).unwrap());
    Process { executor, options, _root: root }
}

impl Backend for Process {
    fn executor(&self) -> &Arc<dyn Executor> {
        &self.executor
    }

    fn other_worker(&self) -> Arc<dyn Executor> {
        let owner = Owner { worker: WorkerId::new(), ..self.options.owner };
        Arc::new(ProcessExecutor::new(ProcessOptions { owner, ..self.options.clone() }).unwrap())
    }

    fn command(&self, act: &Act) -> Vec<String> {
        shell(act)
    }

    fn extra_variables(&self) -> &'static [&'static str] {
        &["PATH", "LANG", "HOME", "TMPDIR", "GANTRY_SANDBOX"]
    }
}

pub struct Docker {
    executor: Arc<dyn Executor>,
    first: Arc<DockerExecutor>,
    second: Arc<DockerExecutor>,
}

pub async fn docker() -> Docker {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| DEFAULT_HOST.to_owned());
    let installation = InstallationId::new();
    let connect = async || {
        let owner = Owner { installation, worker: WorkerId::new() };
        let mut options = DockerOptions::new(&host, owner);
        // Making networks takes longer than all of the rest.
        options.network = NetworkOptions::None;
        let docker = DockerExecutor::connect(options).await;
        Arc::new(docker.unwrap_or_else(|error| {
            panic!("this needs a Docker engine: run `scripts/services start docker` ({error})")
        }))
    };
    let (first, second) = (connect().await, connect().await);
    Docker { executor: first.clone(), first, second }
}

impl Backend for Docker {
    fn executor(&self) -> &Arc<dyn Executor> {
        &self.executor
    }

    fn other_worker(&self) -> Arc<dyn Executor> {
        self.second.clone()
    }

    fn command(&self, act: &Act) -> Vec<String> {
        shell(act)
    }

    fn image(&self) -> Option<String> {
        Some("busybox:1.36".to_owned())
    }

    fn extra_variables(&self) -> &'static [&'static str] {
        // The image's own and the engine's.
        &["PATH", "HOME", "HOSTNAME"]
    }

    fn more_than_buffers(&self) -> usize {
        64 * 1024 * 1024
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.first.close().await.unwrap();
            self.second.close().await.unwrap();
        })
    }
}

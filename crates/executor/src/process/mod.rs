//! Runs commands on the host itself, for embedded mode without a container engine.
//!
//! What it promises: nothing of a command outlives its worker (see [`shim`]), the command sees no environment but its own,
//! it works in a private directory that is removed with it, and it cannot use more memory or processes than allowed for long.
//! What it does not: it is no isolation. A command runs as the worker's user, with that user's files and network, and
//! `cpu_millis` is only kept as a whole number of cores. Server configurations refuse this executor.
//!
//! Beside [`AttemptSpec::environment`] a command gets `PATH` and `LANG` of the worker, `HOME` and `TMPDIR` in its private
//! directory (the attempt's own variables win over these), and `GANTRY_SANDBOX`, the mark by which its processes are found.

mod collect;
mod proc_tree;
mod protocol;
mod running;
mod sandbox;
pub mod shim;
mod workspace;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gantry_domain::worker::ExecutorKind;

use self::running::Running;
use self::sandbox::{Phase, Sandbox, validate};
use self::workspace::Workspace;
use crate::pattern::Pattern;
use crate::{
    AttemptKey, AttemptSpec, Executor, ExecutorError, Exit, OutputStream, Owner, Progress, TarStream,
};

/// How to start the program whose `main` calls [`shim::main`] with what follows `args`.
#[derive(Debug, Clone)]
pub struct ShimProgram {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

impl ShimProgram {
    /// This very program, also after its file was replaced by a newer one.
    pub fn this_program<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Self {
        Self { program: "/proc/self/exe".into(), args: args.into_iter().map(Into::into).collect() }
    }

    /// Without any environment: the shim needs none, and the command must not find one beside it.
    fn command(&self, stage: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.arg0("gantry-shim").args(&self.args).arg(stage).env_clear();
        command
    }
}

/// Where and for whom commands run.
#[derive(Debug, Clone)]
pub struct ProcessOptions {
    /// Holds one directory per attempt; belongs to one installation.
    pub root: PathBuf,
    pub owner: Owner,
    pub shim: ShimProgram,
}

/// The executor of the host.
pub struct ProcessExecutor {
    options: ProcessOptions,
    sandboxes: Mutex<HashMap<AttemptKey, Arc<Sandbox>>>,
}

impl ProcessExecutor {
    pub fn new(options: ProcessOptions) -> io::Result<Self> {
        let root = std::path::absolute(&options.root)?;
        Ok(Self { options: ProcessOptions { root, ..options }, sandboxes: Mutex::default() })
    }

    fn sandboxes(&self) -> MutexGuard<'_, HashMap<AttemptKey, Arc<Sandbox>>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sandbox(&self, key: AttemptKey) -> Option<Arc<Sandbox>> {
        self.sandboxes().get(&key).cloned()
    }

    fn started(&self, key: AttemptKey) -> Result<(Arc<Sandbox>, Arc<Running>), ExecutorError> {
        let sandbox = self.sandbox(key).ok_or_else(|| wrong_order("the attempt is not prepared"))?;
        let running = sandbox.running().ok_or_else(|| wrong_order("the command is not started"))?;
        Ok((sandbox, running))
    }

    async fn end_unsupervised(&self, workspace: &Workspace) -> Result<(), ExecutorError> {
        if running::sweep(workspace.directory.clone()).await {
            return Ok(());
        }
        Err(ExecutorError::Infrastructure("processes that are left behind cannot be killed".to_owned()))
    }
}

fn wrong_order(what: &str) -> ExecutorError {
    ExecutorError::CallOrder(what.to_owned())
}

fn host_failed(what: &str, path: &Path, error: &io::Error) -> ExecutorError {
    ExecutorError::Infrastructure(format!("cannot {what} `{}`: {error}", path.display()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

#[async_trait]
impl Executor for ProcessExecutor {
    fn kind(&self) -> ExecutorKind {
        ExecutorKind::Process
    }

    async fn prepare(&self, attempt: &AttemptSpec, progress: &dyn Progress) -> Result<(), ExecutorError> {
        validate(attempt).await?;
        let workspace = Workspace::new(&self.options.root, attempt.key);
        let sandbox = Arc::new(Sandbox::new(attempt.clone(), workspace));
        match self.sandboxes().entry(attempt.key) {
            std::collections::hash_map::Entry::Occupied(_) => {
                return Err(wrong_order("the attempt is prepared already"));
            }
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(Arc::clone(&sandbox)),
        };
        if let Some(image) = &attempt.image {
            progress.line(format!("runs on the host: the image `{image}` is not used"));
        }
        let held = Arc::clone(&sandbox.directory).lock_owned().await;
        let (made, owner) = (Arc::clone(&sandbox), self.options.owner);
        let made = blocking(move || {
            let _held = held;
            match &*made.phase() {
                Phase::Preparing => {}
                _ => return Ok(()),
            }
            made.workspace.create(owner)
        });
        made.await.map_err(|e| host_failed("make the workspace", &sandbox.workspace.directory, &e))?;
        let mut phase = sandbox.phase();
        match *phase {
            Phase::Preparing => *phase = Phase::Prepared,
            _ => return Err(wrong_order("the attempt was destroyed while it was prepared")),
        }
        Ok(())
    }

    async fn start(&self, key: AttemptKey) -> Result<OutputStream, ExecutorError> {
        let sandbox = self.sandbox(key).ok_or_else(|| wrong_order("the attempt is not prepared"))?;
        let (running, output) = {
            let mut phase = sandbox.phase();
            match *phase {
                Phase::Prepared => {}
                Phase::Started(_) => return Err(wrong_order("the command is started already")),
                Phase::Preparing | Phase::Destroyed => {
                    return Err(wrong_order("the attempt is not prepared"));
                }
            }
            let directory = sandbox.workspace.directory.clone();
            let spawned =
                Running::spawn(&self.options.shim, directory, sandbox.job(), sandbox.spec.resources);
            let (running, output) = spawned?;
            let running = Arc::new(running);
            *phase = Phase::Started(Arc::clone(&running));
            (running, output)
        };
        running.started().await?;
        Ok(output)
    }

    async fn wait(&self, key: AttemptKey) -> Result<Exit, ExecutorError> {
        let (_, running) = self.started(key)?;
        running.wait().await
    }

    async fn stop(&self, key: AttemptKey, grace: Duration) -> Result<(), ExecutorError> {
        match self.sandbox(key).and_then(|sandbox| sandbox.running()) {
            Some(running) => running.stop(grace).await,
            None => Ok(()),
        }
    }

    async fn collect(&self, key: AttemptKey, paths: &[String]) -> Result<TarStream, ExecutorError> {
        let (sandbox, running) = self.started(key)?;
        if !running.has_ended() {
            return Err(wrong_order("the command still runs"));
        }
        let places = collect::Places {
            working: sandbox.working_directory(),
            work: sandbox.workspace.work(),
            tmp: sandbox.workspace.tmp(),
        };
        let patterns = paths.iter().filter_map(|path| Pattern::parse(path)).collect();
        Ok(collect::stream(places, patterns))
    }

    async fn destroy(&self, key: AttemptKey) -> Result<(), ExecutorError> {
        let sandbox = self.sandbox(key);
        let workspace = Workspace::new(&self.options.root, key);
        let held = match &sandbox {
            Some(sandbox) => {
                // Either it runs and is stopped, or it can never be started: in one step.
                let running = match &mut *sandbox.phase() {
                    Phase::Started(running) => Some(Arc::clone(running)),
                    phase => {
                        *phase = Phase::Destroyed;
                        None
                    }
                };
                if let Some(running) = running {
                    running.stop(Duration::ZERO).await?;
                    // Without a shim nobody but the mark says that nothing is left.
                    if running.wait().await.is_err() {
                        self.end_unsupervised(&workspace).await?;
                    }
                }
                *sandbox.phase() = Phase::Destroyed;
                Some(Arc::clone(&sandbox.directory).lock_owned().await)
            }
            None => {
                if !tokio::fs::try_exists(&workspace.directory).await.unwrap_or(true) {
                    return Ok(());
                }
                self.end_unsupervised(&workspace).await?;
                None
            }
        };
        let directory = workspace.directory.clone();
        let removed = blocking(move || {
            let _held = held;
            workspace.remove()
        });
        removed.await.map_err(|e| host_failed("remove", &directory, &e))?;
        self.sandboxes().remove(&key);
        Ok(())
    }

    async fn leftovers(&self) -> Result<Vec<AttemptKey>, ExecutorError> {
        let (root, installation) = (self.options.root.clone(), self.options.owner.installation);
        let found = blocking(move || workspace::existing(&root, installation)).await;
        found.map_err(|e| host_failed("list", &self.options.root, &e))
    }

    async fn check(&self) -> Result<String, ExecutorError> {
        let mut shim = self.options.shim.command(shim::CHECK);
        shim.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).kill_on_drop(true);
        let shown = self.options.shim.program.display();
        match tokio::time::timeout(Duration::from_secs(5), shim.status()).await {
            Ok(Ok(status)) if status.success() => {
                let user = rustix::process::getuid().as_raw();
                Ok(format!("process: commands run on this host as user {user}, without isolation"))
            }
            Ok(Ok(status)) => {
                Err(ExecutorError::Infrastructure(format!("`{shown}` does not work as a shim: {status}")))
            }
            Ok(Err(error)) => {
                Err(ExecutorError::Infrastructure(format!("cannot start `{shown}` as a shim: {error}")))
            }
            Err(_) => Err(ExecutorError::Infrastructure(format!("`{shown}` does not answer as a shim"))),
        }
    }
}

//! What is known of an attempt while this worker carries it out, and what its command gets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gantry_domain::spec::Network;

use crate::process::proc_tree;
use crate::process::protocol::Job;
use crate::process::running::Running;
use crate::process::workspace::Workspace;
use crate::{AttemptSpec, ExecutorError};

/// One attempt on this host, from `prepare` to `destroy`.
pub(super) struct Sandbox {
    pub spec: AttemptSpec,
    pub workspace: Workspace,
    phase: Mutex<Phase>,
    /// Held by whatever changes the directory, beyond the life of the call that asked for it.
    pub directory: Arc<tokio::sync::Mutex<()>>,
}

pub(super) enum Phase {
    Preparing,
    Prepared,
    Started(Arc<Running>),
    Destroyed,
}

impl Sandbox {
    pub fn new(spec: AttemptSpec, workspace: Workspace) -> Self {
        Self { spec, workspace, phase: Mutex::new(Phase::Preparing), directory: Arc::default() }
    }

    pub fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn running(&self) -> Option<Arc<Running>> {
        match &*self.phase() {
            Phase::Started(running) => Some(Arc::clone(running)),
            _ => None,
        }
    }

    /// Where the command runs.
    pub fn working_directory(&self) -> PathBuf {
        self.spec.workdir.clone().unwrap_or_else(|| self.workspace.work())
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let inherited =
            |name: &str, otherwise: &str| std::env::var_os(name).unwrap_or_else(|| otherwise.into());
        let mut environment: BTreeMap<OsString, OsString> = BTreeMap::new();
        environment.insert("PATH".into(), inherited("PATH", "/usr/local/bin:/usr/bin:/bin"));
        environment.insert("LANG".into(), inherited("LANG", "C.UTF-8"));
        environment.insert("HOME".into(), self.workspace.work().into());
        environment.insert("TMPDIR".into(), self.workspace.tmp().into());
        environment.extend(self.spec.environment.iter().map(|(name, value)| (name.into(), value.into())));
        environment.insert(proc_tree::MARKER.into(), self.workspace.directory.clone().into());
        environment.into_iter().collect()
    }

    pub fn job(&self) -> Job {
        let AttemptSpec { resources, slot, workdir, .. } = &self.spec;
        let cpus = u64::from(resources.cpu_millis.div_ceil(1000));
        Job {
            command: self.spec.command.iter().flatten().map(Into::into).collect(),
            environment: self.environment(),
            directory: self.working_directory(),
            // A directory of the user's keeps the modes the user is used to.
            umask: if workdir.is_some() { 0o022 } else { 0o077 },
            memory_bytes: u64::from(resources.memory_mb) * 1024 * 1024,
            pids: resources.pids.into(),
            cpus,
            first_cpu: u64::from(*slot) * cpus,
        }
    }
}

/// What can be seen to be wrong before anything is made.
pub(super) async fn validate(attempt: &AttemptSpec) -> Result<(), ExecutorError> {
    let Some(command) = &attempt.command else {
        return Err(ExecutorError::Unsupported(
            "the process executor has no image whose entrypoint it could run: give the run a command"
                .to_owned(),
        ));
    };
    if command.first().is_none_or(String::is_empty) {
        return Err(ExecutorError::BadCommand("the command is empty".to_owned()));
    }
    if attempt.network == Network::None {
        return Err(ExecutorError::Unsupported(
            "`network: none` cannot be kept by the process executor, whose commands have the host's network: \
             use the docker executor"
                .to_owned(),
        ));
    }
    let variables = attempt.environment.iter().flat_map(|(name, value)| [name, value]);
    if command.iter().chain(variables).any(|text| text.contains('\0')) {
        return Err(ExecutorError::BadCommand("a command or variable holds a NUL byte".to_owned()));
    }
    let Some(workdir) = &attempt.workdir else { return Ok(()) };
    let shown = workdir.display();
    match tokio::fs::metadata(workdir).await {
        _ if !workdir.is_absolute() => {
            Err(ExecutorError::BadCommand(format!("the working directory `{shown}` is not an absolute path")))
        }
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => {
            Err(ExecutorError::BadCommand(format!("the working directory `{shown}` is not a directory")))
        }
        Err(error) => {
            Err(ExecutorError::BadCommand(format!("the working directory `{shown}` cannot be used: {error}")))
        }
    }
}

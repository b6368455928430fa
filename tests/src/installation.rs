//! A data directory, and the `gantry up` that serves it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};
use gantry_client::{ApiClient, Transport};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::gantry;

/// One installation; its data goes with it.
pub struct Installation {
    dir: TempDir,
    settings: Vec<(String, String)>,
}

impl Installation {
    /// A new one for this executor. Other settings of this machine's environment don't reach it.
    pub fn new(executor: &str) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("gantry-e2e-").tempdir()?;
        Ok(Self { dir, settings: Vec::new() }
            .set("GANTRY_EXECUTOR", executor)
            .set("GANTRY_LISTEN", "127.0.0.1:0")
            // However full this machine is: what happens then is tested where the disk is a test's own.
            .set("GANTRY_DISK_PAUSE_BELOW", "0")
            .set("GANTRY_DISK_PRUNE_BELOW", "0"))
    }

    /// With this variable in the environment of `gantry up`.
    #[must_use]
    pub fn set(mut self, variable: &str, value: &str) -> Self {
        self.settings.push((variable.to_owned(), value.to_owned()));
        self
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A directory for a test's own files.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(gantry());
        command.args(args).env_clear();
        for name in ["PATH", "LANG", "DOCKER_HOST"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("HOME", self.dir.path()).env("GANTRY_DATA_DIR", self.data_dir());
        command
    }

    /// Starts `gantry up` and waits until it says where it serves.
    pub fn up(&self) -> anyhow::Result<Up> {
        let mut child = self
            .command(&["up"])
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("can't start gantry")?;
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().context("no stderr")?;
        let reader = std::thread::spawn({
            let log = log.clone();
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut said = String::new();
        let url = loop {
            let mut line = String::new();
            if stdout.read_line(&mut line)? == 0 {
                let _ = child.wait();
                let _ = reader.join();
                bail!("gantry up ended: {said}{}", log.lock().unwrap_or_else(PoisonError::into_inner));
            }
            said.push_str(&line);
            if let Some((_, url)) = line.trim_end().split_once(" is up at ") {
                break url.to_owned();
            }
        };
        let drain = std::thread::spawn(move || drop(stdout.read_to_end(&mut Vec::new())));
        let text = std::fs::read(self.data_dir().join("credentials.json")).context("no credentials")?;
        let credentials: Value = serde_json::from_slice(&text)?;
        let key = credentials["api_key"].as_str().context("no API key")?.to_owned();
        Ok(Up { child, url, key, log, threads: vec![reader, drain] })
    }

    /// Runs another `gantry` command to its end, as a person on this machine would.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<Output> {
        Ok(self.command(args).stdin(Stdio::null()).output()?)
    }

    /// Starts another `gantry` command.
    pub fn spawn(&self, args: &[&str]) -> anyhow::Result<Child> {
        let mut command = self.command(args);
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }
}

/// A running `gantry up`; killed when dropped.
pub struct Up {
    child: Child,
    pub url: String,
    pub key: String,
    log: Arc<Mutex<String>>,
    threads: Vec<JoinHandle<()>>,
}

impl Up {
    pub fn client(&self) -> anyhow::Result<ApiClient> {
        Ok(ApiClient::new(Transport::http(&self.url)?, &self.key))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.child.id() as i32).context("no process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// kill -9, at once.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.child.wait()?;
        self.join();
        Ok(())
    }

    /// SIGTERM, and whether it ended well.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.child.wait()?;
        self.join();
        if !status.success() {
            bail!("gantry up ended with {status}: {}", self.log());
        }
        Ok(())
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> anyhow::Result<u64> {
        self.status_kib("VmRSS:")
    }

    /// The most it ever had resident, in bytes.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join();
        if std::thread::panicking() {
            show_log("gantry up", &self.log());
        }
    }
}

/// The end of what a process logged, beside the failure of the test that ran it.
#[allow(clippy::print_stderr, reason = "a failed test shows what the processes under test said")]
pub(crate) fn show_log(name: &str, log: &str) {
    let tail = log.lines().rev().take(60).collect::<Vec<_>>();
    for line in tail.into_iter().rev() {
        eprintln!("{name}: {line}");
    }
}

//! One program under test: started, killed, stopped for a while, started again; what it says is kept.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::installation::show_log;

/// A program with its environment, whether it runs at the moment or not.
pub struct Process {
    name: String,
    program: PathBuf,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Its log goes to `DIR/NAME.log`, over all its lives.
    pub fn new(name: &str, program: &Path, dir: &Path, environment: Vec<(String, String)>) -> Self {
        let log = dir.join(format!("{name}.log"));
        Self { name: name.to_owned(), program: program.to_owned(), environment, log, child: None }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// With this variable from the next start on.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.environment.retain(|(name, _)| name != variable);
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    /// Starts it; `announces` waits for its first line on standard output and returns that.
    pub fn start(&mut self, announces: bool) -> anyhow::Result<String> {
        anyhow::ensure!(self.child.is_none(), "{} is running", self.name);
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.env_clear();
        for name in ["PATH", "LANG", "DOCKER_HOST"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().with_context(|| format!("can't start {}", self.program.display()))?;
        let stdout = child.stdout.take().context("no stdout")?;
        self.child = Some(child);
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        if announces && stdout.read_line(&mut line)? == 0 {
            let status = self.wait(Duration::from_secs(10))?;
            bail!("{} ended with {status}:\n{}", self.name, self.log());
        }
        // Ends with the process: a full pipe would hold it up.
        std::thread::spawn(move || drop(stdout.read_to_end(&mut Vec::new())));
        Ok(line)
    }

    /// kill -9.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// SIGSTOP: it stays, and does nothing any more.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits for its end, which somebody asked for.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("it is not running")?;
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} goes on after {limit:?}:\n{}", self.name, self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> anyhow::Result<u64> {
        let pid = self.pid().context("it is not running")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().with_context(|| format!("{} is not running", self.name))?;
        Ok(kill_process(Pid::from_raw(pid as i32).context("no process")?, signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            show_log(&self.name, &self.log());
        }
    }
}

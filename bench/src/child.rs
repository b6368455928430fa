//! Servers and programs that a measurement starts for itself; all of them are gone when it is over.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::TcpStream;

/// How long anything may take to start on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process with its children, its output in a file; killed as a group when dropped.
pub struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command`; its output goes to `NAME.log` in `dir`.
    pub fn start(name: &str, dir: &Path, command: &mut Command) -> anyhow::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let process = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't start {name} ({:?})", command.get_program()))?;
        Ok(Self { name: name.to_owned(), process, log })
    }

    /// Waits until something listens on `port`; an early end is an error with the last lines of output.
    pub async fn listens(&mut self, port: u16) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            self.still_runs()?;
            if Instant::now() > deadline {
                bail!("{} does not listen on {port}: {}", self.name, self.last_lines());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// An error with the last lines of output when it ended.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.process.try_wait()? {
            bail!("{} ended with {status}: {}", self.name, self.last_lines());
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.process.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.process.wait();
    }
}

/// A port that nobody listens on just now.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

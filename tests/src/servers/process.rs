//! One private server: `scripts/services run --tied`, its directory, its ports.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::tree;
use crate::PATIENCE;
use crate::installation::show_log;

/// What tells one kind of server from another.
pub struct Kind {
    /// As `scripts/services` calls it.
    pub name: &'static str,
    /// How many ports it needs; clients use the first.
    pub ports: usize,
    /// A request that needs no password, and what its answer begins with, after so many bytes.
    pub ping: &'static [u8],
    pub pong: (usize, &'static [u8]),
}

pub struct Server {
    kind: &'static Kind,
    dir: TempDir,
    ports: Vec<u16>,
    child: Option<Child>,
}

impl Server {
    pub fn start(kind: &'static Kind) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix(&format!("gantry-{}-", kind.name)).tempdir()?;
        let ports = free_ports(kind.ports)?;
        let mut server = Self { kind, dir, ports, child: None };
        server.restart()?;
        Ok(server)
    }

    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Our own script, which knows the programs; it ends with us, because its standard input is a pipe that we hold.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            self.stop()?;
        }
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let child = Command::new(services())
            .args(["run", "--tied", self.kind.name])
            .arg(self.dir())
            .args(self.ports.iter().map(u16::to_string))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal is for the test; the server ends with it.
            .process_group(0)
            .spawn()
            .context("can't start scripts/services")?;
        self.child = Some(child);
        Ok(())
    }

    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.launch()?;
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() > deadline {
                let state = ended.map_or_else(
                    || format!("does not answer after {} s", PATIENCE.as_secs()),
                    |status| format!("ended at its start with {status}"),
                );
                bail!(
                    "a private {0} on ports {1:?} {state} (`scripts/services install {0}` puts its programs here); its log's end:\n{2}",
                    self.kind.name,
                    self.ports,
                    self.log_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().with_context(|| format!("{} is not running", self.kind.name))?.id())
    }

    pub fn kill(&mut self) -> anyhow::Result<()> {
        tree::kill(self.pid()?)?;
        self.reap()
    }

    pub fn stop(&mut self) -> anyhow::Result<()> {
        let pid = self.pid()?;
        // A frozen one would never end.
        tree::thaw(pid);
        let root = Pid::from_raw(i32::try_from(pid)?).context("no process")?;
        kill_process(root, Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while tree::tree(pid).contains(&pid) {
            if Instant::now() > deadline {
                bail!("{} does not end; its log's end:\n{}", self.kind.name, self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.reap()
    }

    fn reap(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    pub fn freeze(&self) -> anyhow::Result<()> {
        tree::freeze(self.pid()?);
        Ok(())
    }

    pub fn thaw(&self) -> anyhow::Result<()> {
        tree::thaw(self.pid()?);
        Ok(())
    }

    pub fn answers(&self) -> bool {
        self.exchange().unwrap_or(false)
    }

    fn exchange(&self) -> std::io::Result<bool> {
        let limit = Duration::from_secs(5);
        let mut stream = TcpStream::connect_timeout(&local(self.port()), limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(self.kind.ping)?;
        let (skip, expected) = self.kind.pong;
        let mut answer = vec![0; skip + expected.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer.get(skip..) == Some(expected))
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(pid) = self.pid() {
            let _ = tree::kill(pid);
            let _ = self.reap();
        }
        if std::thread::panicking() {
            show_log(self.kind.name, &self.log());
        }
    }
}

fn services() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services")
}

pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Ports that stay ours while a server is down: below those that outgoing connections get, and for each test process elsewhere.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    const FIRST: u16 = 15_000;
    const NUMBER: u16 = 15_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = (std::process::id().wrapping_mul(97) % u32::from(NUMBER)) as u16;
    let mut ports = Vec::new();
    for _ in 0..NUMBER {
        if ports.len() == count {
            return Ok(ports);
        }
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % NUMBER;
        let port = FIRST + (offset + next) % NUMBER;
        if TcpListener::bind(local(port)).is_ok() {
            ports.push(port);
        }
    }
    bail!("no free port")
}

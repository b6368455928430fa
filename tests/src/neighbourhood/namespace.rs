//! A network namespace that lives as long as the process that holds it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub(super) struct Namespace {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Namespace {
    /// `command` makes the namespace, says a line when it is in it, and ends with its standard input.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("can't start unshare, of util-linux")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().context("no stdout")?);
        let namespace = Self { child, stdin };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line == "ready\n", "no network namespace can be made here: are you root?");
        Ok(namespace)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub fn tell(&mut self, word: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.stdin.as_mut().context("it was told to end")?, "{word}")?)
    }

    /// Does something in there, on a thread of its own; sockets it makes stay in there wherever they are used.
    pub fn within<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
        let network = File::open(format!("/proc/{}/ns/net", self.pid()))?;
        let inside = std::thread::spawn(move || -> anyhow::Result<T> {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(act())
        });
        inside.join().map_err(|_| anyhow::anyhow!("it panicked in there"))?
    }

    pub fn ip(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = Command::new("nsenter")
            .args(["--net", "--target", &self.pid().to_string(), "ip"])
            .args(arguments)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip {}: {said}", arguments.join(" "));
        Ok(())
    }

    /// Tells it to end, and makes it end when it does not.
    pub fn end(&mut self, limit: Duration) {
        self.stdin = None;
        let deadline = Instant::now() + limit;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

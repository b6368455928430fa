//! A Docker engine that a test may kill: its own data, socket and processes, no bridge and no firewall rules.

use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::PATIENCE;
use crate::installation::show_log;

const IMAGE: &str = "busybox:1.36";

/// One engine; it and its data go when it is dropped.
pub struct PrivateEngine {
    dir: TempDir,
    label: Option<&'static str>,
    child: Option<Child>,
}

impl PrivateEngine {
    /// Starts it and gives it `busybox:1.36`, from the engine that tests share. Needs root, as every engine does.
    pub fn start() -> anyhow::Result<Self> {
        // A socket's path has some hundred characters at most.
        let dir = tempfile::Builder::new().prefix("gantry-engine-").tempdir_in("/tmp")?;
        let mut engine = Self { dir, label: None, child: None };
        engine.restart()?;
        engine.take_over_image()?;
        Ok(engine)
    }

    /// Another engine in the place of this one, which describes itself by this label.
    pub fn replace(&mut self, label: Option<&'static str>) -> anyhow::Result<()> {
        self.stop();
        self.label = label;
        self.restart()
    }

    /// One whose disk has this many MiB, in memory.
    pub fn with_disk(mib: u32) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("gantry-engine-").tempdir_in("/tmp")?;
        let mut engine = Self { dir, label: None, child: None };
        let data = engine.path("data");
        std::fs::create_dir(&data)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(&data)
            .output()?;
        ensure!(mounted.status.success(), "mount: {}", String::from_utf8_lossy(&mounted.stderr));
        engine.restart()?;
        engine.take_over_image()?;
        Ok(engine)
    }

    /// For `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("engine.sock").display())
    }

    /// kill -9 of the engine; containers are left to their shims.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let child = self.child.as_mut().context("the engine is not running")?;
        child.kill()?;
        child.wait()?;
        self.child = None;
        Ok(())
    }

    /// Starts it on what its predecessor left, and waits until it answers.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "the engine is running");
        let _ = std::fs::remove_file(self.path("pid"));
        let log = File::options().create(true).append(true).open(self.path("log"))?;
        // A network of its own: an engine without a bridge removes `docker0`, whoever made it.
        let child = Command::new("unshare")
            .args(["--net", "dockerd"])
            .arg("--host")
            .arg(self.host())
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("exec"))
            .arg("--pidfile")
            .arg(self.path("pid"))
            .args(self.label.map(|label| format!("--label={label}")))
            .args(["--bridge=none", "--iptables=false", "--log-level=warn"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("can't start dockerd: these tests need root and a Docker engine (`scripts/services start docker` installs one)")?;
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while !self.docker(["info"])?.status.success() {
            let gone = self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|s| s.is_some()));
            if gone || Instant::now() > deadline {
                bail!("the private engine does not start:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Ids of all its containers, running or not.
    pub fn containers(&self) -> anyhow::Result<Vec<String>> {
        let output = self.docker(["ps", "-aq"])?;
        ensure!(output.status.success(), "docker ps: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    fn docker<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> anyhow::Result<Output> {
        Command::new("docker")
            .env("DOCKER_HOST", self.host())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .context("can't start docker")
    }

    fn take_over_image(&self) -> anyhow::Result<()> {
        let mut save = Command::new("docker").args(["save", IMAGE]).stdout(Stdio::piped()).spawn()?;
        let image = save.stdout.take().context("no stdout")?;
        let loaded =
            Command::new("docker").env("DOCKER_HOST", self.host()).arg("load").stdin(image).output()?;
        ensure!(
            save.wait()?.success() && loaded.status.success(),
            "cannot take {IMAGE} over from the shared engine (`scripts/services start docker && scripts/test-images`): {}",
            String::from_utf8_lossy(&loaded.stderr)
        );
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// An engine that was killed left shims and containers behind: only a successor ends them.
    fn end(&mut self) {
        if self.child.is_none() {
            let _ = self.restart();
        }
        if let Ok(containers) = self.containers()
            && !containers.is_empty()
        {
            let _ = self.docker(["rm", "-f"].into_iter().chain(containers.iter().map(String::as_str)));
        }
        self.stop();
    }

    /// An orderly end.
    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = Pid::from_raw(child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    /// What is still mounted below the directory would keep it from being removed.
    fn unmount(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = self.dir.path().display().to_string();
        let mut points: Vec<&str> = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|point| point.starts_with(&own))
            .collect();
        // The innermost first.
        points.sort_unstable_by_key(|point| std::cmp::Reverse(point.len()));
        for point in points {
            let _ = Command::new("umount").arg(point).status();
        }
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            show_log("engine", &self.log());
        }
        self.unmount();
    }
}

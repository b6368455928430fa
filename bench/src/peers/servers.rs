//! The servers that peers keep their jobs in: private ones, because how durable they are must be known.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::child::{Child, free_port};

/// When Redis syncs its append-only file.
#[derive(Debug, Clone, Copy)]
pub enum Fsync {
    Always,
    EverySecond,
}

/// A Redis with an append-only file in `dir`; its address is `HOST:PORT`.
pub async fn redis(dir: &Path, fsync: Fsync) -> anyhow::Result<(Child, String)> {
    let port = free_port()?;
    let policy = match fsync {
        Fsync::Always => "always",
        Fsync::EverySecond => "everysec",
    };
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", policy, "--maxmemory-policy", "noeviction"]);
    command.arg("--dir").arg(dir);
    let mut server = Child::start("redis", dir, &mut command)?;
    server.listens(port).await?;
    Ok((server, format!("127.0.0.1:{port}")))
}

/// A PostgreSQL that syncs every commit, in `dir`; its address is a URL.
pub async fn postgres(dir: &Path) -> anyhow::Result<(Child, String)> {
    let programs = postgres_programs()?;
    let data = dir.join("postgres");
    std::fs::create_dir(&data)?;
    let account = Account::for_postgres()?;
    if let Some(account) = &account {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
        chown(&data, Some(account.uid), Some(account.gid))?;
    }
    let command = |program: &str| match &account {
        None => Command::new(programs.join(program)),
        Some(account) => {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={}", account.uid), format!("--regid={}", account.gid)]);
            command.arg("--clear-groups").arg(programs.join(program)).current_dir(dir);
            command
        }
    };
    let made = command("initdb").args(["--auth=trust", "--username=postgres", "-D"]).arg(&data).output()?;
    ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
    let port = free_port()?;
    let mut server = command("postgres");
    server.arg("-D").arg(&data).args(["-p", &port.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "fsync=on",
        "synchronous_commit=on",
        "max_connections=200",
        "shared_buffers=256MB",
        "max_wal_size=4GB",
    ] {
        server.args(["-c", setting]);
    }
    let mut server = Child::start("postgres", dir, &mut server)?;
    server.listens(port).await?;
    Ok((server, format!("postgres://postgres@127.0.0.1:{port}/postgres")))
}

/// The newest of the versions that Debian's packages put side by side.
fn postgres_programs() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let mut found: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|programs| programs.join("postgres").exists())
        .collect();
    found.sort();
    found.pop().context("no PostgreSQL server in /usr/lib/postgresql")
}

/// PostgreSQL refuses to run as root.
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// `None` when this process may run it itself.
    fn for_postgres() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let accounts = std::fs::read_to_string("/etc/passwd")?;
        let line = accounts.lines().find(|line| line.starts_with("postgres:"));
        let mut fields = line.context("no account named postgres")?.split(':').skip(2);
        let mut number = || fields.next().and_then(|field| field.parse().ok()).context("no number");
        Ok(Some(Self { uid: number()?, gid: number()? }))
    }
}

//! Other systems that take jobs, measured with the same work, on the same machine, in the same run.
//!
//! `bench/peers/README.md` says what each of them runs and what is on disk when it answers.

mod front;
mod servers;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::types::ShortString;
use lapin::{Connection, ConnectionProperties};
use tempfile::TempDir;

use crate::child::{Child, free_port};
use crate::samples::Series;
use crate::work;
use front::{Front, Http, Restate};
use servers::Fsync;

/// A system to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Celery,
    BullMqAlways,
    BullMqEverySecond,
    GraphileWorker,
    Restate,
}

impl Peer {
    pub const ALL: [Self; 5] =
        [Self::Celery, Self::BullMqAlways, Self::BullMqEverySecond, Self::GraphileWorker, Self::Restate];

    pub fn name(self) -> &'static str {
        match self {
            Self::Celery => "Celery + RabbitMQ",
            Self::BullMqAlways => "BullMQ + Redis, always",
            Self::BullMqEverySecond => "BullMQ + Redis, everysec",
            Self::GraphileWorker => "graphile-worker",
            Self::Restate => "Restate",
        }
    }

    /// What is on disk when it answers, and when a result is read.
    pub fn durability(self) -> &'static str {
        match self {
            Self::Celery => {
                "job: quorum queue, synced before the confirm, acks_late; result: Redis, appendfsync always"
            }
            Self::BullMqAlways => "job and result: Redis, appendfsync always",
            Self::BullMqEverySecond => "NOT EQUAL: Redis, appendfsync everysec may lose a second of both",
            Self::GraphileWorker => "job and result: PostgreSQL, synced at commit",
            Self::Restate => "job and result: Restate's log, write-ahead log synced",
        }
    }

    /// Whether it keeps what Gantry keeps when the power goes.
    pub fn equally_durable(self) -> bool {
        self != Self::BullMqEverySecond
    }

    /// Jobs for the measurement of throughput: some seconds' worth.
    fn count(self) -> usize {
        match self {
            Self::Celery => 1600,
            _ => 4800,
        }
    }
}

/// Where `scripts/bench --peers` installed the peers, and the broker that Celery shares with Gantry.
pub struct Peers {
    installed: PathBuf,
    amqp: String,
}

impl Peers {
    pub fn new(amqp: &str) -> anyhow::Result<Self> {
        let installed = std::env::var_os("GANTRY_BENCH_PEERS")
            .context("GANTRY_BENCH_PEERS is not set: start this by scripts/bench --peers")?;
        Ok(Self { installed: installed.into(), amqp: amqp.to_owned() })
    }

    pub async fn measure(&self, peer: Peer, series: &mut Series) -> anyhow::Result<()> {
        let dir = tempfile::Builder::new().prefix("gantry-bench-").tempdir()?;
        ensure_disk(&dir)?;
        let (name, count) = (peer.name(), peer.count());
        let running = match peer {
            Peer::Celery => self.celery(&dir).await?,
            Peer::BullMqAlways => self.bullmq(&dir, Fsync::Always).await?,
            Peer::BullMqEverySecond => self.bullmq(&dir, Fsync::EverySecond).await?,
            Peer::GraphileWorker => self.graphile_worker(&dir).await?,
            Peer::Restate => self.restate(&dir).await?,
        };
        let port = running.port;
        if peer == Peer::Restate {
            work::measure(name, series, count, || Ok(Restate(Http::new(port)))).await?;
        } else {
            work::measure(name, series, count, || Ok(Front(Http::new(port)))).await?;
        }
        let queue = running.queue.clone();
        drop(running);
        match queue {
            Some(queue) => self.delete(queue).await,
            None => Ok(()),
        }
    }

    /// The broker is not the peer's own: nothing is left there.
    async fn delete(&self, queue: String) -> anyhow::Result<()> {
        let connection = Connection::connect(&self.amqp, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let name = ShortString::from(queue);
        channel.queue_delete(name.clone(), QueueDeleteOptions::default()).await?;
        channel.exchange_delete(name, ExchangeDeleteOptions::default()).await?;
        Ok(connection.close(200, ShortString::from("done")).await?)
    }

    fn node(&self, script: &str) -> Command {
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        let mut command =
            Command::new(self.installed.join(format!("node_modules/node-linux-{arch}/bin/node")));
        command.arg(self.installed.join(script)).env("NODE_ENV", "production");
        command
    }

    async fn celery(&self, dir: &TempDir) -> anyhow::Result<Running> {
        let (redis, address) = servers::redis(dir.path(), Fsync::Always).await?;
        let queue = format!("gantry-bench-{:x}", rand::random::<u32>());
        let port = free_port()?;
        let program = |name: &str| {
            let mut command = Command::new(self.installed.join("venv/bin").join(name));
            command.current_dir(self.installed.join("celery"));
            command.env("BENCH_AMQP", &self.amqp).env("BENCH_RESULTS", format!("redis://{address}/0"));
            command.env("BENCH_QUEUE", &queue).env("PYTHONDONTWRITEBYTECODE", "1");
            command
        };
        let mut worker = program("celery");
        worker.args([
            "-A",
            "jobs",
            "worker",
            "--pool",
            "prefork",
            "--concurrency",
            "8",
            "--loglevel",
            "warning",
        ]);
        worker.args(["--without-mingle", "--without-gossip", "--without-heartbeat"]);
        let worker = Child::start("worker", dir.path(), &mut worker)?;
        let mut front = program("uvicorn");
        front.args(["front:app", "--port", &port.to_string(), "--no-access-log", "--log-level", "warning"]);
        let mut front = Child::start("front", dir.path(), &mut front)?;
        front.listens(port).await?;
        Ok(Running { port, queue: Some(queue), _children: vec![front, worker, redis] })
    }

    async fn bullmq(&self, dir: &TempDir, fsync: Fsync) -> anyhow::Result<Running> {
        let (redis, address) = servers::redis(dir.path(), fsync).await?;
        let port = free_port()?;
        let mut worker = self.node("bullmq/worker.js");
        let worker = Child::start("worker", dir.path(), worker.env("BENCH_REDIS", &address))?;
        let mut front = self.node("bullmq/front.js");
        front.env("BENCH_REDIS", &address).env("PORT", port.to_string());
        let mut front = Child::start("front", dir.path(), &mut front)?;
        front.listens(port).await?;
        Ok(Running { port, queue: None, _children: vec![front, worker, redis] })
    }

    async fn graphile_worker(&self, dir: &TempDir) -> anyhow::Result<Running> {
        let (postgres, url) = servers::postgres(dir.path()).await?;
        let port = free_port()?;
        let mut front = self.node("graphile-worker/front.js");
        front.env("BENCH_POSTGRES", &url).env("PORT", port.to_string());
        let mut front = Child::start("front", dir.path(), &mut front)?;
        front.listens(port).await?;
        let mut worker = self.node("graphile-worker/worker.js");
        let worker = Child::start("worker", dir.path(), worker.env("BENCH_POSTGRES", &url))?;
        Ok(Running { port, queue: None, _children: vec![front, worker, postgres] })
    }

    async fn restate(&self, dir: &TempDir) -> anyhow::Result<Running> {
        let (port, admin, service_port) = (free_port()?, free_port()?, free_port()?);
        let mut service = self.node("restate/service.js");
        let mut service = Child::start("service", dir.path(), service.env("PORT", service_port.to_string()))?;
        service.listens(service_port).await?;
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        let program = format!("node_modules/@restatedev/restate-server-linux-{arch}/bin/restate-server");
        let mut server = Command::new(self.installed.join(program));
        server.arg("--no-logo").env("RESTATE_BASE_DIR", dir.path().join("restate"));
        server.env("RESTATE_BIND_IP", "127.0.0.1").env("RESTATE_LISTEN_MODE", "tcp");
        server.env("RESTATE_BIND_PORT", free_port()?.to_string());
        server.env("RESTATE_INGRESS__BIND_PORT", port.to_string());
        server.env("RESTATE_ADMIN__BIND_PORT", admin.to_string());
        server.env("RESTATE_LOG_FILTER", "warn").env("DO_NOT_TRACK", "1");
        let mut server = Child::start("restate", dir.path(), &mut server)?;
        server.listens(admin).await?;
        server.listens(port).await?;
        let body = serde_json::json!({ "uri": format!("http://127.0.0.1:{service_port}") }).to_string();
        let admin = Http::new(admin);
        while let Err(error) = admin.call(http::Method::POST, "/deployments", None, body.clone()).await {
            server.still_runs().context(error)?;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        Ok(Running { port, queue: None, _children: vec![server, service] })
    }
}

/// A peer that serves; its processes end with it.
struct Running {
    port: u16,
    /// What it made at the broker that Gantry uses, too.
    queue: Option<String>,
    _children: Vec<Child>,
}

/// A sync of a file in memory costs nothing and proves nothing.
fn ensure_disk(dir: &TempDir) -> anyhow::Result<()> {
    const TMPFS: u64 = 0x0102_1994;
    let kind = rustix::fs::statfs(dir.path())?.f_type as u64;
    ensure!(kind != TMPFS, "{} is in memory: set TMPDIR to a directory on a disk", dir.path().display());
    Ok(())
}

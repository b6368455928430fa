//! What a worker says about its engine; everything has a default that suits a laptop.

use std::net::Ipv4Addr;
use std::time::Duration;

use gantry_domain::spec::Resources;

use crate::Owner;

/// How to reach an engine and how far to go with it.
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// `unix:///path` or `tcp://host:port`.
    pub host: String,
    pub owner: Owner,
    /// Attempts this worker carries out at once; [`super::DockerExecutor::warm_up`] makes a network for each.
    pub slots: u32,
    pub network: NetworkOptions,
    /// Only on an engine with the label [`super::FILTERED_EGRESS`] anything is started; [`crate::Executor::check`] says so.
    pub filtered_egress: bool,
    pub pull: PullOptions,
    /// Most a container gets, whatever its run asks for.
    pub resource_caps: Option<Resources>,
    /// Open files per process.
    pub nofile: u32,
    /// Runs the command under the engine's `docker-init`: it reaps orphans and lets signals end a command that installs no
    /// handlers; as the first process of a container such a command would ignore them, its own `kill` included. An
    /// executable that is missing or not executable then ends with 127 or 126 instead of failing to start.
    pub init: bool,
    /// The engine serves this worker alone: its images may all be pruned, not only those pulled by this process.
    pub dedicated_engine: bool,
    pub limits: EngineLimits,
}

/// Where the socket is unless something else is said.
pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

impl DockerOptions {
    /// The engine at `host`, with every default.
    pub fn new(host: impl Into<String>, owner: Owner) -> Self {
        Self {
            host: host.into(),
            owner,
            slots: 1,
            network: NetworkOptions::default(),
            filtered_egress: false,
            pull: PullOptions::default(),
            resource_caps: None,
            nofile: 16_384,
            init: true,
            dedicated_engine: false,
            limits: EngineLimits::default(),
        }
    }
}

/// What containers may talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkOptions {
    /// A private bridge per slot, each a /28 out of this range.
    PerSlot { range: Ipv4Addr, prefix: u8 },
    /// No network but loopback.
    None,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self::PerSlot { range: Ipv4Addr::new(10, 213, 192, 0), prefix: 18 }
    }
}

/// How patient a pull is.
#[derive(Debug, Clone, Copy)]
pub struct PullOptions {
    /// Tries for failures that may pass.
    pub tries: u32,
    /// Pause before the second try, doubled for each later one, with jitter.
    pub backoff: Duration,
    /// Longest time without a byte or a layer.
    pub no_progress: Duration,
    /// Longest time altogether.
    pub total: Duration,
    /// Between two lines of progress.
    pub report_every: Duration,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            tries: 3,
            backoff: Duration::from_secs(1),
            no_progress: Duration::from_secs(120),
            total: Duration::from_secs(600),
            report_every: Duration::from_secs(3),
        }
    }
}

/// How long the engine may take to answer.
#[derive(Debug, Clone, Copy)]
pub struct EngineLimits {
    /// Looking things up.
    pub lookup: Duration,
    /// Creating or starting a container or network.
    pub create: Duration,
    /// Removing everything of an attempt.
    pub destroy: Duration,
    /// Silence while files are collected.
    pub collect_silence: Duration,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            lookup: Duration::from_secs(10),
            create: Duration::from_secs(60),
            destroy: Duration::from_secs(15),
            collect_silence: Duration::from_secs(60),
        }
    }
}

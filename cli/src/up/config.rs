//! The settings of `gantry up`: its own, and the producer's and the worker's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use gantry_producer::backends::{BackendConfig, Composition};
use gantry_producer::config::{Exposure, ProducerConfig};
use gantry_service_kit::config::{ConfigErrors, Effective, Source};
use gantry_service_kit::telemetry::TelemetryConfig;

use crate::args::UpArgs;

/// Everything `gantry up` needs to know.
#[derive(Debug, Clone)]
pub struct UpConfig {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub executor: ExecutorChoice,
    pub slots: u32,
    pub docker_host: String,
    pub telemetry: TelemetryConfig,
    pub producer: ProducerConfig,
    pub backends: BackendConfig,
    /// How long a store that is a server may be away at the start.
    pub store_patience: Duration,
    /// What runs get to end by themselves once a shutdown began.
    pub drain_grace: Duration,
    /// Percent of free disk space below which no runs are taken; 0 turns that off.
    pub disk_pause_below: u8,
    /// Percent of free disk space below which unused images are removed; 0 turns that off.
    pub disk_prune_below: u8,
}

/// How runs are to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutorChoice {
    /// Docker if an engine answers, else processes of this host.
    Auto,
    Docker,
    Process,
    /// Runs nothing: for tests and benchmarks of Gantry itself.
    Fake,
}

impl FromStr for ExecutorChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "docker" => Ok(Self::Docker),
            "process" => Ok(Self::Process),
            "fake" => Ok(Self::Fake),
            _ => Err("expected auto, docker or process".to_owned()),
        }
    }
}

impl std::fmt::Display for ExecutorChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Docker => "docker",
            Self::Process => "process",
            Self::Fake => "fake",
        })
    }
}

/// Variables that other commands read.
const OF_THE_CLIENT: [&str; 2] = ["GANTRY_URL", "GANTRY_API_KEY"];

/// Reads flags, environment and file.
pub fn load(args: &UpArgs) -> Result<(UpConfig, Effective), ConfigErrors> {
    let mut source = source(args.config.as_deref());
    if let Some(dir) = &args.data_dir {
        source.set("data_dir", "--data-dir", dir.to_string_lossy());
    }
    let mut flag = |key: &str, name: &str, value: Option<String>| {
        if let Some(value) = value {
            source.set(key, name, value);
        }
    };
    flag("listen", "--listen", args.listen.clone());
    flag("executor", "--executor", args.executor.clone());
    flag("slots", "--slots", args.slots.map(|slots| slots.to_string()));
    read(source)
}

/// The effective configuration as text with secrets redacted, and everything that is wrong with it.
pub fn check(file: Option<&Path>) -> (String, Vec<String>) {
    match read(source(file)) {
        Ok((_, effective)) => (effective.to_string(), Vec::new()),
        Err(errors) => (String::new(), errors.0.iter().map(ToString::to_string).collect()),
    }
}

fn source(file: Option<&Path>) -> Source {
    let mut source = Source::new(std::env::vars_os());
    for name in OF_THE_CLIENT {
        source.ignore(name);
    }
    source.ignore("GANTRY_CONFIG");
    if let Some(file) = file {
        source.load_file(file);
    }
    source
}

fn read(mut source: Source) -> Result<(UpConfig, Effective), ConfigErrors> {
    source.alias_as("listen", "PORT", |port| format!("127.0.0.1:{port}"));
    source.alias("docker_host", "DOCKER_HOST");
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get() as u32);
    let listen = source.parse("listen", SocketAddr::from(([127, 0, 0, 1], 8080)));
    let data_dir = source.path("data_dir", crate::data_dir::default());
    let backends = BackendConfig::read(&mut source, Composition::OneProcess { data_dir: &data_dir });
    let config = UpConfig {
        listen,
        data_dir,
        backends,
        store_patience: source.duration("store_patience", Duration::from_secs(60)),
        executor: source.parse("executor", ExecutorChoice::Auto),
        slots: source.parse("slots", cores),
        docker_host: source.parse("docker_host", gantry_executor::docker::DEFAULT_HOST.to_owned()),
        telemetry: TelemetryConfig::read(&mut source),
        producer: ProducerConfig::read(&mut source, Exposure::OwnMachine { listen }),
        drain_grace: source.duration("drain_grace", Duration::from_secs(10)),
        disk_pause_below: source.parse("disk.pause_below", 15),
        disk_prune_below: source.parse("disk.prune_below", 10),
    };
    if !(1..=1000).contains(&config.slots) {
        source.reject("slots", "give 1 to 1000");
    }
    for (key, percent) in
        [("disk.pause_below", config.disk_pause_below), ("disk.prune_below", config.disk_prune_below)]
    {
        if percent >= 100 {
            source.reject(key, "give 0 to 99 percent");
        }
    }
    source.finish().map(|effective| (config, effective))
}

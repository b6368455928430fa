//! The settings of `gantry-worker`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use gantry_client::Transport;
use gantry_domain::spec::Pool;
use gantry_executor::docker::PullOptions;
use gantry_queue::RabbitOptions;
use gantry_service_kit::config::{ConfigErrors, Effective, Secret, Source};
use gantry_service_kit::telemetry::TelemetryConfig;

/// Everything `gantry-worker` needs to know.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Health and metrics.
    pub listen: SocketAddr,
    pub telemetry: TelemetryConfig,
    /// The worker API; several addresses are replicas.
    pub producer_url: String,
    pub worker_token: Secret,
    pub queue: RabbitOptions,
    pub pool: Pool,
    pub slots: u32,
    pub name: String,
    pub executor: ExecutorChoice,
    pub docker_host: String,
    /// Takes runs also on an engine that does not say that it keeps them from the worker API, the broker and each other.
    pub allow_unverified_egress: bool,
    /// What runs get to end by themselves once a shutdown began; then they are handed back.
    pub drain_grace: Duration,
    /// Percent of free disk space below which no runs are taken; 0 turns that off.
    pub disk_pause_below: u8,
    /// Percent of free disk space below which unused images are removed; 0 turns that off.
    pub disk_prune_below: u8,
    /// How long a registry may send nothing.
    pub pull_no_progress: Duration,
    /// Variables that are no business of a worker's, and are not looked at.
    pub ignored: Vec<&'static str>,
}

/// How runs are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutorChoice {
    Docker,
    /// Runs nothing: for tests and benchmarks of Gantry itself.
    Fake,
}

impl FromStr for ExecutorChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "docker" => Ok(Self::Docker),
            "fake" => Ok(Self::Fake),
            "process" => {
                Err("commands on the host itself are for `gantry up` only: expected docker".to_owned())
            }
            _ => Err("expected docker".to_owned()),
        }
    }
}

impl std::fmt::Display for ExecutorChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Fake => "fake",
        })
    }
}

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 3002);
/// What a worker must not know: it runs other people's code beside an engine.
const NOT_FOR_WORKERS: [&str; 6] =
    ["GANTRY_STORE", "GANTRY_REDIS", "GANTRY_BLOBS", "GANTRY_BOOTSTRAP_API_KEY", "MONGO_URI", "REDIS_URL"];

/// Reads environment and file.
pub fn load(file: Option<&Path>) -> Result<(ServiceConfig, Effective), ConfigErrors> {
    let (source, ignored) = source(std::env::vars_os().collect(), file);
    read(source, ignored)
}

/// Where the health of this machine's worker is.
pub fn listen_address(file: Option<&Path>) -> SocketAddr {
    source(std::env::vars_os().collect(), file).0.parse("listen", LISTEN)
}

fn source(
    variables: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    file: Option<&Path>,
) -> (Source, Vec<&'static str>) {
    let given = |name: &str| variables.iter().any(|(other, value)| other == name && !value.is_empty());
    let ignored = NOT_FOR_WORKERS.into_iter().filter(|name| given(name)).collect();
    let mut source = Source::new(variables);
    // Environment files may be shared with producers and with the command.
    let shared = ["GANTRY_CONFIG", "GANTRY_URL", "GANTRY_API_KEY", "GANTRY_REDIS_PREFIX"];
    for name in shared.into_iter().chain(NOT_FOR_WORKERS) {
        source.ignore(name);
    }
    if let Some(file) = file {
        source.load_file(file);
    }
    (source, ignored)
}

fn read(mut source: Source, ignored: Vec<&'static str>) -> Result<(ServiceConfig, Effective), ConfigErrors> {
    for (key, alias) in
        [("producer_url", "PRODUCER_URL"), ("queue", "RABBITMQ_URL"), ("docker_host", "DOCKER_HOST")]
    {
        source.alias(key, alias);
    }
    let listen = source.parse("listen", LISTEN);
    let telemetry = TelemetryConfig::read(&mut source);
    let producer_url = source.required::<String>("producer_url").unwrap_or_default();
    if !producer_url.is_empty()
        && let Err(error) = Transport::http(&producer_url)
    {
        source.reject("producer_url", error.to_string());
    }
    let pool = source.parse("pool", Pool::default());
    let worker_token = worker_token(&mut source, &pool);
    let queue = queue(&mut source);
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get() as u32);
    let config = ServiceConfig {
        listen,
        telemetry,
        producer_url,
        worker_token,
        queue,
        pool,
        slots: source.parse("slots", cores),
        name: source.parse("name", host_name()),
        executor: source.parse("executor", ExecutorChoice::Docker),
        docker_host: source.parse("docker_host", gantry_executor::docker::DEFAULT_HOST.to_owned()),
        allow_unverified_egress: source.bool("allow_unverified_egress", false),
        drain_grace: source.duration("drain_grace", Duration::from_secs(30)),
        disk_pause_below: source.parse("disk.pause_below", 15),
        disk_prune_below: source.parse("disk.prune_below", 10),
        pull_no_progress: source.duration("pull.no_progress", PullOptions::default().no_progress),
        ignored,
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

/// Producers accept several tokens at a time and may share the setting: the first that is good for the pool is presented.
fn worker_token(source: &mut Source, pool: &Pool) -> Secret {
    let Some(text) = source.secret("worker_token") else {
        source.reject("worker_token", "is required: one of the tokens that the producers accept");
        return Secret::new("");
    };
    let own = |item: &str| match item.split_once('=') {
        Some((of, token)) if !token.trim_matches('=').is_empty() => {
            (of.trim() == pool.as_str()).then(|| token.trim().to_owned())
        }
        _ => Some(item.to_owned()),
    };
    let items = text.expose().split([',', '\n', '\r']).map(str::trim).filter(|item| !item.is_empty());
    match items.filter_map(own).next() {
        Some(token) => Secret::new(token),
        None => {
            source.reject("worker_token", format!("holds no token for pool {pool}"));
            Secret::new("")
        }
    }
}

fn queue(source: &mut Source) -> RabbitOptions {
    let uri = source.address("queue");
    let options = match &uri {
        Some(uri) if uri.expose().starts_with("amqp://") || uri.expose().starts_with("amqps://") => {
            RabbitOptions::new(uri.expose().trim())
        }
        Some(_) => {
            source.reject("queue", "expected amqp://…/VHOST or amqps://…/VHOST");
            RabbitOptions::new("")
        }
        None => {
            source.reject("queue", "is required: amqp://…/VHOST or amqps://…/VHOST, as for the producers");
            RabbitOptions::new("")
        }
    };
    RabbitOptions {
        prefix: source.parse("queue_prefix", options.prefix.clone()),
        ca_file: source.optional::<PathBuf>("queue_ca_file"),
        name: "gantry-worker".to_owned(),
        ..options
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn with(more: &[(&str, &str)]) -> Result<(ServiceConfig, Effective), ConfigErrors> {
        let mut variables = vec![
            ("GANTRY_PRODUCER_URL", "http://a:3001,http://b:3001"),
            ("GANTRY_WORKER_TOKEN", TOKEN),
            ("GANTRY_QUEUE", "amqp://ann:secret@broker"),
        ];
        variables.extend(more);
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        let (source, ignored) = source(variables.collect(), None);
        read(source, ignored)
    }

    #[test]
    fn three_settings_make_a_worker() {
        let (config, effective) = with(&[]).unwrap();
        assert_eq!(config.worker_token.expose(), TOKEN);
        assert_eq!((config.executor, config.pool), (ExecutorChoice::Docker, Pool::default()));
        assert!(!config.allow_unverified_egress);
        let shown = effective.to_string();
        assert!(!shown.contains("secret") && !shown.contains(TOKEN), "{shown}");
        assert!(config.ignored.is_empty());
    }

    #[test]
    fn what_is_not_for_workers_is_not_looked_at() {
        let (config, effective) =
            with(&[("MONGO_URI", "mongodb://ann:secret@db"), ("GANTRY_REDIS", "redis://cache")]).unwrap();
        assert_eq!(config.ignored, ["GANTRY_REDIS", "MONGO_URI"]);
        assert!(!effective.to_string().contains("mongodb"));
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn of_several_tokens_the_first_for_the_pool_is_presented() {
        let tokens = format!("cpu={}, {TOKEN}", TOKEN.replace('0', "f"));
        assert_eq!(with(&[("GANTRY_WORKER_TOKEN", &tokens)]).unwrap().0.worker_token.expose(), TOKEN);
        let (config, _) = with(&[("GANTRY_WORKER_TOKEN", &tokens), ("GANTRY_POOL", "cpu")]).unwrap();
        assert!(config.worker_token.expose().starts_with("f123"));
        assert!(with(&[("GANTRY_WORKER_TOKEN", &format!("gpu={TOKEN}"))]).is_err());
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let (source, ignored) = source(vec![("GANTRY_EXECUTOR".into(), "process".into())], None);
        let errors = read(source, ignored).unwrap_err();
        let places: Vec<_> = errors.0.iter().map(|error| error.place.as_str()).collect();
        assert_eq!(places, ["GANTRY_PRODUCER_URL", "GANTRY_WORKER_TOKEN", "GANTRY_QUEUE", "GANTRY_EXECUTOR"]);
        assert!(errors.to_string().contains("for `gantry up` only"), "{errors}");
    }
}

//! What an installation sets: leases, limits, retention. Read once at start; every error is reported at once.

mod http;
pub mod identity;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use gantry_credentials::seal::Sealer;
use gantry_domain::spec::SpecLimits;
use gantry_domain::worker::ExecutorKind;
use gantry_ratelimit::Limit;
use gantry_service_kit::config::{Secret, Source};

pub use self::http::{Hosts, HttpConfig, Origin, as_address};
pub use self::identity::IdentityConfig;

/// The producer's settings.
#[derive(Debug, Clone, Default)]
pub struct ProducerConfig {
    pub http: HttpConfig,
    pub identity: IdentityConfig,
    pub leases: LeaseConfig,
    pub concurrency: ConcurrencyConfig,
    pub quotas: QuotaConfig,
    pub limits: LimitConfig,
    pub rate_limits: RateLimitConfig,
    pub spec: SpecLimits,
    /// How runs are carried out here, where that is known: decides whether `image` and `workdir` make sense.
    pub executor: Option<ExecutorKind>,
    /// Secrets that runs of the organization that operates the installation may name, besides those of their projects.
    pub secrets: BTreeMap<String, Secret>,
    /// Seals the secrets of projects; without it none can be set.
    pub sealer: Option<Arc<Sealer>>,
}

/// Leases: how long a silent worker keeps its runs.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    pub lease: Duration,
    pub heartbeat: Duration,
    /// After this long without an answered heartbeat a worker ends its runs; shorter than `lease`.
    pub fence: Duration,
    /// How often leases that ran out are looked for.
    pub reaper_period: Duration,
    /// No lease is taken away before the store has been healthy for this long.
    pub settle: Duration,
    /// A queued run that nobody claimed for this long is published again.
    pub republish_after: Duration,
}

/// How many runs may go on at once; `None` is no limit.
#[derive(Debug, Clone, Default)]
pub struct ConcurrencyConfig {
    pub organization: Option<u32>,
    pub project: Option<u32>,
    pub group: Option<u32>,
}

/// How much one organization may keep waiting; `None` is no limit. An organization may have limits of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaConfig {
    /// Pending and queued runs.
    pub queued_runs: Option<u32>,
}

/// How many requests are let through; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// Of everybody in one organization; it may have a limit of its own.
    pub organization: Option<Limit>,
    /// Of one API key.
    pub key: Option<Limit>,
    /// Of one person who signed in.
    pub account: Option<Limit>,
    /// Runs that one organization creates; it may have a limit of its own.
    pub run_creation: Option<Limit>,
    /// Of one address, at each replica.
    pub address: Option<Limit>,
}

/// Who can reach a producer, which decides what it allows when nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// `gantry up`: people of this machine. Pages on the web that they look at must not reach it, and nobody needs limits.
    OwnMachine { listen: SocketAddr },
    /// A server that strangers share.
    Network,
}

impl Exposure {
    /// Per minute: what nobody reaches by hand, and what leaves something for everybody else.
    fn default_rates(self) -> DefaultRates {
        match self {
            Self::OwnMachine { .. } => DefaultRates::default(),
            Self::Network => DefaultRates { organization: 600, run_creation: 120, address: 6_000 },
        }
    }
}

/// Per minute; 0 is no limit.
#[derive(Default)]
struct DefaultRates {
    organization: u32,
    run_creation: u32,
    address: u32,
}

#[derive(Debug, Clone)]
pub struct LimitConfig {
    pub body_bytes: usize,
    /// Of one attempt.
    pub log_bytes: u64,
    pub artifact_packed_bytes: u64,
    pub artifact_unpacked_bytes: u64,
    pub artifact_files: u64,
    /// For collecting and uploading artifacts.
    pub collect_timeout: Duration,
    /// A run that waited this long is given up.
    pub queue_timeout: Duration,
    /// Idempotency keys are kept this long.
    pub idempotency: Duration,
    /// An ended attempt's log is sealed after this long, so that late bytes and followers are done.
    pub seal_after: Duration,
    /// Chunks of a sealed log go after this long.
    pub clear_after: Duration,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(45),
            heartbeat: Duration::from_secs(5),
            fence: Duration::from_secs(40),
            reaper_period: Duration::from_secs(5),
            settle: Duration::from_secs(15),
            republish_after: Duration::from_secs(60),
        }
    }
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            body_bytes: 2 << 20,
            log_bytes: 64 << 20,
            artifact_packed_bytes: 512 << 20,
            artifact_unpacked_bytes: 2 << 30,
            artifact_files: 20_000,
            collect_timeout: Duration::from_secs(600),
            queue_timeout: Duration::from_secs(24 * 3600),
            idempotency: Duration::from_secs(24 * 3600),
            seal_after: Duration::from_secs(5),
            clear_after: Duration::from_secs(600),
        }
    }
}

impl ProducerConfig {
    /// Reads every setting; errors are kept in `source`.
    pub fn read(source: &mut Source, exposure: Exposure) -> Self {
        let identity = IdentityConfig::read(source);
        let public_url = identity.public_url.as_ref().map(|url| url.as_str());
        let http = HttpConfig::read(source, exposure, public_url);
        let leases = LeaseConfig::read(source);
        let none = |limit: u32| (limit > 0).then_some(limit);
        let concurrency = ConcurrencyConfig {
            organization: none(source.parse("concurrency.organization", 0)),
            project: none(source.parse("concurrency.project", 0)),
            group: none(source.parse("concurrency.group", 0)),
        };
        let limits = LimitConfig::read(source);
        let quotas = QuotaConfig { queued_runs: none(source.parse("quotas.queued_runs", 0)) };
        let rate_limits = RateLimitConfig::read(source, exposure);
        let default = SpecLimits::default();
        let spec = SpecLimits {
            max_timeout_seconds: source.parse("limits.max_timeout_seconds", default.max_timeout_seconds),
            max_cpu_millis: source.parse("limits.max_cpu_millis", default.max_cpu_millis),
            max_memory_mb: source.parse("limits.max_memory_mb", default.max_memory_mb),
            max_pids: source.parse("limits.max_pids", default.max_pids),
        };
        let secrets = source.secret_table("secrets");
        let sealer = sealer(source);
        Self {
            http,
            identity,
            leases,
            concurrency,
            quotas,
            limits,
            rate_limits,
            spec,
            executor: None,
            secrets,
            sealer,
        }
    }
}

/// `NAME:BASE64`, one or several: the first seals, all open.
pub fn sealer(source: &mut Source) -> Option<Arc<Sealer>> {
    match source.secret("sealing_keys")?.expose().parse::<Sealer>() {
        Ok(sealer) => Some(Arc::new(sealer)),
        Err(wrong) => {
            source.reject("sealing_keys", format!("{wrong}: `gantry-producer new-sealing-key` makes one"));
            None
        }
    }
}

impl LeaseConfig {
    fn read(source: &mut Source) -> Self {
        let d = Self::default();
        let read = Self {
            lease: source.duration("leases.lease", d.lease),
            heartbeat: source.duration("leases.heartbeat", d.heartbeat),
            fence: source.duration("leases.fence", d.fence),
            reaper_period: source.duration("leases.reaper_period", d.reaper_period),
            settle: source.duration("leases.settle", d.settle),
            republish_after: source.duration("leases.republish_after", d.republish_after),
        };
        if read.heartbeat.is_zero() || read.heartbeat >= read.fence {
            source.reject("leases.heartbeat", "must be more than zero and shorter than leases.fence");
        }
        if read.fence >= read.lease {
            source.reject(
                "leases.fence",
                "must be shorter than leases.lease: a worker stops before it is replaced",
            );
        }
        if read.reaper_period.is_zero() {
            source.reject("leases.reaper_period", "must be more than zero");
        }
        read
    }
}

impl RateLimitConfig {
    fn read(source: &mut Source, exposure: Exposure) -> Self {
        let mut limit = |name: &str, default: u32| {
            let count = NonZeroU32::new(source.parse(&format!("rate_limits.{name}"), default));
            // Unless something else is said, what a minute allows may come at once.
            let burst: u32 =
                source.parse(&format!("rate_limits.{name}_burst"), count.map_or(0, NonZeroU32::get));
            match (count, NonZeroU32::new(burst)) {
                (Some(count), Some(burst)) => Some(Limit::per_minute(count, burst)),
                (Some(_), None) => {
                    source.reject(&format!("rate_limits.{name}_burst"), "must be more than zero");
                    None
                }
                (None, Some(_)) => {
                    let needed = format!("means nothing without rate_limits.{name}");
                    source.reject(&format!("rate_limits.{name}_burst"), needed);
                    None
                }
                (None, None) => None,
            }
        };
        let default = exposure.default_rates();
        Self {
            organization: limit("organization", default.organization),
            key: limit("key", 0),
            account: limit("account", 0),
            run_creation: limit("run_creation", default.run_creation),
            address: limit("address", default.address),
        }
    }
}

impl LimitConfig {
    fn read(source: &mut Source) -> Self {
        let d = Self::default();
        Self {
            body_bytes: source.bytes("limits.body", d.body_bytes as u64) as usize,
            log_bytes: source.bytes("limits.log", d.log_bytes),
            artifact_packed_bytes: source.bytes("limits.artifacts_packed", d.artifact_packed_bytes),
            artifact_unpacked_bytes: source.bytes("limits.artifacts_unpacked", d.artifact_unpacked_bytes),
            artifact_files: source.parse("limits.artifact_files", d.artifact_files),
            collect_timeout: source.duration("limits.collect_timeout", d.collect_timeout),
            queue_timeout: source.duration("limits.queue_timeout", d.queue_timeout),
            idempotency: source.duration("limits.idempotency", d.idempotency),
            seal_after: source.duration("logs.seal_after", d.seal_after),
            clear_after: source.duration("logs.clear_after", d.clear_after),
        }
    }
}

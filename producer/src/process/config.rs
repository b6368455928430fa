//! The settings of `gantry-producer`: its own, the producer's and the backends'.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry_service_kit::config::{ConfigErrors, Effective, Secret, Source};
use gantry_service_kit::telemetry::TelemetryConfig;

use crate::backends::{BackendConfig, Composition};
use crate::config::{Exposure, ProducerConfig};
use crate::services::credentials;
use crate::worker_tokens::WorkerTokens;

/// Everything `gantry-producer` needs to know.
#[derive(Clone)]
pub struct ServiceConfig {
    /// The public API.
    pub listen: SocketAddr,
    /// The worker API, which nobody else may reach.
    pub worker_listen: SocketAddr,
    pub telemetry: TelemetryConfig,
    pub producer: ProducerConfig,
    pub backends: BackendConfig,
    pub worker_tokens: WorkerTokens,
    /// Read again when it changes.
    pub worker_token_file: Option<PathBuf>,
    /// Read again when it changes.
    pub signing_keys_file: Option<PathBuf>,
    /// Makes the organization `default` with this key, unless they are there.
    pub bootstrap_key: Option<Secret>,
    /// How long the store may be away at the start.
    pub store_patience: Duration,
    /// Between telling that it is not ready any more and ending: load balancers take that long to notice.
    pub drain_delay: Duration,
    /// For requests in flight.
    pub drain_grace: Duration,
}

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 3000);
const WORKER_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 3001);

/// Reads environment and file.
pub fn load(file: Option<&Path>) -> Result<(ServiceConfig, Effective), ConfigErrors> {
    read(source(file))
}

/// Where the public API of this machine's producer is.
pub fn listen_address(file: Option<&Path>) -> SocketAddr {
    listen(&mut source(file))
}

fn source(file: Option<&Path>) -> Source {
    let mut source = Source::new(std::env::vars_os());
    // Of the command line and of workers, which may share an environment file.
    for name in ["GANTRY_CONFIG", "GANTRY_URL", "GANTRY_API_KEY", "GANTRY_PRODUCER_URL"] {
        source.ignore(name);
    }
    if let Some(file) = file {
        source.load_file(file);
    }
    source
}

fn listen(source: &mut Source) -> SocketAddr {
    source.alias_as("listen", "PORT", |port| format!("0.0.0.0:{port}"));
    source.parse("listen", LISTEN)
}

fn read(mut source: Source) -> Result<(ServiceConfig, Effective), ConfigErrors> {
    let listen = listen(&mut source);
    let worker_listen = source.parse("worker_listen", WORKER_LISTEN);
    if listen == worker_listen && listen.port() != 0 {
        source.reject(
            "worker_listen",
            "must not be the address of the public API: workers have a listener of their own",
        );
    }
    let telemetry = TelemetryConfig::read(&mut source);
    let backends = BackendConfig::read(&mut source, Composition::Deployment);
    let producer = ProducerConfig::read(&mut source, Exposure::Network);
    if producer.identity.signing_keys.is_none() {
        source.reject(
            "signing_keys",
            "is required, the same for all producers: what access tokens are signed with; make one with `gantry-producer new-signing-key`",
        );
    }
    let worker_tokens = worker_tokens(&mut source);
    let bootstrap_key = bootstrap_key(&mut source);
    let config = ServiceConfig {
        listen,
        worker_listen,
        telemetry,
        producer,
        backends,
        worker_tokens,
        worker_token_file: source.secret_file("worker_token"),
        signing_keys_file: source.secret_file("signing_keys"),
        bootstrap_key,
        store_patience: source.duration("store_patience", Duration::from_secs(60)),
        drain_delay: source.duration("drain_delay", Duration::from_secs(5)),
        drain_grace: source.duration("drain_grace", Duration::from_secs(20)),
    };
    source.finish().map(|effective| (config, effective))
}

fn worker_tokens(source: &mut Source) -> WorkerTokens {
    let parsed = match source.secret("worker_token") {
        Some(text) => WorkerTokens::parse(&text),
        None => {
            Err("is required: what workers present; make one with `gantry-producer new-token`".to_owned())
        }
    };
    parsed.unwrap_or_else(|message| {
        source.reject("worker_token", message);
        WorkerTokens::from(credentials::new_token().as_str())
    })
}

fn bootstrap_key(source: &mut Source) -> Option<Secret> {
    let key = source.secret("bootstrap.api_key")?;
    if let Err(message) = credentials::check_strength(key.expose()) {
        source.reject("bootstrap.api_key", message);
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNING_KEY: &str = "k1:MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=";
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn complete() -> Vec<(&'static str, String)> {
        vec![
            ("GANTRY_STORE", "mongodb://ann:secret@db/gantry".to_owned()),
            ("GANTRY_QUEUE", "amqp://ann:secret@broker".to_owned()),
            ("GANTRY_WORKER_TOKEN", TOKEN.to_owned()),
            ("GANTRY_SIGNING_KEYS", SIGNING_KEY.to_owned()),
        ]
    }

    fn with(more: &[(&'static str, &str)]) -> Result<(ServiceConfig, Effective), ConfigErrors> {
        let mut variables = complete();
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        read(Source::new(variables))
    }

    #[test]
    fn four_settings_make_a_producer() {
        let (config, effective) = with(&[]).unwrap();
        assert_eq!((config.listen, config.worker_listen), (LISTEN, WORKER_LISTEN));
        assert!(config.bootstrap_key.is_none());
        let shown = effective.to_string();
        assert!(!shown.contains("secret") && !shown.contains(TOKEN), "{shown}");
        assert!(!shown.contains("MDEyMzQ1"), "{shown}");
    }

    #[test]
    fn the_conventional_port_is_the_public_one() {
        let (config, _) = with(&[("PORT", "8000")]).unwrap();
        assert_eq!(config.listen, "0.0.0.0:8000".parse().unwrap());
        assert!(with(&[("PORT", "3001")]).is_err(), "the worker API has its own listener");
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let errors = read(Source::new([("GANTRY_LISTEN", "here"), ("GANTRY_BOOTSTRAP_API_KEY", "weak")]))
            .err()
            .unwrap();
        let places: Vec<_> = errors.0.iter().map(|error| error.place.as_str()).collect();
        assert_eq!(
            places,
            [
                "GANTRY_LISTEN",
                "GANTRY_STORE",
                "GANTRY_QUEUE",
                "GANTRY_SIGNING_KEYS",
                "GANTRY_WORKER_TOKEN",
                "GANTRY_BOOTSTRAP_API_KEY"
            ]
        );
    }

    #[test]
    fn only_a_strong_key_begins_an_installation() {
        let key = credentials::new_api_key();
        assert!(with(&[("GANTRY_BOOTSTRAP_API_KEY", &key)]).unwrap().0.bootstrap_key.is_some());
        for weak in [&key[..20], "gantry_password", "hunter2"] {
            let errors = with(&[("GANTRY_BOOTSTRAP_API_KEY", weak)]).err().unwrap().to_string();
            assert!(errors.contains("gantry-producer new-key") && !errors.contains(weak), "{errors}");
        }
    }
}

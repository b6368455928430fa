//! What a service tells its operators: logs on stderr and metrics for Prometheus. Both are global by nature, so both
//! are set once and a second call changes nothing, which lets tests start several services in one process.

use std::io::IsTerminal as _;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::shutdown::Shutdown;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `Pretty` when stderr is a terminal, else `Json`.
    #[default]
    Auto,
    Pretty,
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err("expected auto, pretty or json".to_owned()),
        }
    }
}

impl std::fmt::Display for LogFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Pretty => "pretty",
            Self::Json => "json",
        })
    }
}

/// A level (`info`) or directives per module (`info,gantry_store=debug`), as tracing's `EnvFilter` reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Display for LogFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Sends logs to stderr; `false` when the process already had a subscriber, which then stays.
pub fn init_logs(filter: &LogFilter, format: LogFormat) -> bool {
    let filter = EnvFilter::builder().parse_lossy(&filter.0);
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let pretty = match format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    if pretty {
        builder.with_ansi(terminal).with_target(false).try_init().is_ok()
    } else {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init().is_ok()
    }
}

/// Why metrics are not there.
#[derive(Clone, Debug, thiserror::Error)]
#[error("metrics could not be set up: {0}")]
pub struct MetricsError(String);

impl From<BuildError> for MetricsError {
    fn from(error: BuildError) -> Self {
        Self(error.to_string())
    }
}

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// From a millisecond (an in-process call) to the longest request that is not a stream.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Of runs and their phases: names that end in `_run_seconds`.
const RUN_SECONDS: [f64; 12] =
    [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0];
/// From 256 bytes to 1 GiB.
const BYTES: [f64; 12] = [
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];
/// Histograms hold raw samples until they are folded into buckets: this often.
const UPKEEP: Duration = Duration::from_secs(15);

impl Metrics {
    /// Installs the recorder of the process, or returns the one that this function installed before.
    pub fn install() -> Result<Self, MetricsError> {
        static INSTALLED: OnceLock<Result<Metrics, MetricsError>> = OnceLock::new();
        INSTALLED
            .get_or_init(|| {
                let handle = PrometheusBuilder::new()
                    .set_buckets_for_metric(Matcher::Suffix("_run_seconds".to_owned()), &RUN_SECONDS)?
                    .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
                    .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)?
                    .install_recorder()?;
                Ok(Metrics(handle))
            })
            .clone()
    }

    /// The text that Prometheus scrapes (`text/plain; version=0.0.4`).
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps memory bounded when nobody scrapes; to be spawned in a task group.
    pub async fn keep_up(self, shutdown: Shutdown) {
        while shutdown.interrupts(tokio::time::sleep(UPKEEP)).await.is_some() {
            self.0.run_upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_installed_once_and_have_buckets() {
        let first = Metrics::install().unwrap();
        let second = Metrics::install().unwrap();
        metrics::histogram!("gantry_test_request_seconds").record(0.3);
        metrics::histogram!("gantry_test_run_seconds").record(90.0);
        for text in [first.render(), second.render()] {
            assert!(text.contains("gantry_test_request_seconds_bucket{le=\"0.5\"} 1"), "{text}");
            assert!(text.contains("gantry_test_run_seconds_bucket{le=\"180\"} 1"), "{text}");
            assert!(text.contains("gantry_test_run_seconds_bucket{le=\"60\"} 0"), "{text}");
        }
    }

    #[test]
    fn logs_are_set_up_once_and_a_second_time_is_harmless() {
        let filter: LogFilter = "warn,gantry_store=debug".parse().unwrap();
        assert!(init_logs(&filter, LogFormat::Json));
        assert!(!init_logs(&LogFilter::default(), LogFormat::Pretty));
    }

    #[test]
    fn a_filter_that_means_nothing_is_refused() {
        assert!("gantry=loud".parse::<LogFilter>().is_err());
        assert!("loud".parse::<LogFormat>().is_err());
    }
}

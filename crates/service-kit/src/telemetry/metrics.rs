//! What Prometheus scrapes.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::shutdown::Shutdown;

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
}

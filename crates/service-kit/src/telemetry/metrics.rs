//! What Prometheus scrapes.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram};
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
/// Of waiting in a queue: from at once to a day.
const WAIT_SECONDS: [f64; 13] =
    [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0];
/// Of calls to a dependency, from an embedded one to one that times out.
const CALL_SECONDS: [f64; 13] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Things done together.
const COMMANDS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
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
                    .set_buckets_for_metric(Matcher::Suffix("_wait_seconds".to_owned()), &WAIT_SECONDS)?
                    .set_buckets_for_metric(Matcher::Suffix("_call_seconds".to_owned()), &CALL_SECONDS)?
                    .set_buckets_for_metric(Matcher::Suffix("_commands".to_owned()), &COMMANDS)?
                    .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
                    .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)?
                    .install_recorder()?;
                describe();
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

/// Says what is counted here and in the parts beside; what only counts when something happens begins at zero.
fn describe() {
    describe_gauge!("gantry_http_connections", Unit::Count, "Connections open at the moment");
    describe_counter!(
        "gantry_http_connections_closed_total",
        Unit::Count,
        "Connections that the server closed on its own account, by why"
    );
    describe_counter!(
        "gantry_http_bodies_cut_off_total",
        Unit::Count,
        "Requests given up because their body came too slowly"
    );
    describe_counter!("gantry_reconciler_passes_total", Unit::Count, "Passes of a periodic task, by result");
    describe_counter!(
        "gantry_reconciler_changes_total",
        Unit::Count,
        "What the passes of a periodic task changed"
    );
    describe_histogram!("gantry_reconciler_pass_seconds", Unit::Seconds, "Time that a pass took");
    describe_gauge!(
        "gantry_reconciler_consecutive_failures",
        Unit::Count,
        "Passes that failed in a row; 0 after one that did not"
    );
    describe_counter!(
        "gantry_otlp_spans_total",
        Unit::Count,
        "Spans sent to the collector, or lost on the way"
    );
    counter!("gantry_http_bodies_cut_off_total").absolute(0);
    for why in ["gave_way", "head", "idle", "stalled"] {
        counter!("gantry_http_connections_closed_total", "why" => why).absolute(0);
    }
    for result in ["sent", "lost"] {
        counter!("gantry_otlp_spans_total", "result" => result).absolute(0);
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

//! What a service tells its operators: logs on stderr, metrics for Prometheus, and traces for a collector, if there is
//! one. All are global by nature, so each is set once and a second call changes nothing, which lets tests start several
//! services in one process.

mod collector;
mod logs;
mod metrics;
mod otlp;
pub mod trace;

use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use self::logs::{LogFilter, LogFormat};
pub use self::metrics::{Metrics, MetricsError};
pub use self::otlp::OtlpConfig;
use crate::config::Source;

/// What of it is wanted, and where.
#[derive(Clone, Debug, Default)]
pub struct TelemetryConfig {
    pub log_filter: LogFilter,
    pub log_format: LogFormat,
    /// `None`: no spans are made, and nothing is sent.
    pub otlp: Option<OtlpConfig>,
}

impl TelemetryConfig {
    /// `log.*` and `otlp.*`; errors are kept in `source`.
    pub fn read(source: &mut Source) -> Self {
        Self {
            log_filter: source.parse("log.filter", LogFilter::default()),
            log_format: source.parse("log.format", LogFormat::default()),
            otlp: OtlpConfig::read(source),
        }
    }
}

/// Logs and traces of this process, from [`Telemetry::start`] on.
#[must_use = "spans that nobody flushed are lost at the end"]
pub struct Telemetry {
    spans: Option<otlp::Spans>,
}

impl Telemetry {
    /// Sends logs to stderr and, if configured, spans to the collector under the name of `service`. A process that has a
    /// subscriber keeps it. To be called within the runtime.
    pub fn start(config: &TelemetryConfig, service: &'static str) -> Self {
        let (filter, lines) = (config.log_filter.build(), logs::to_stderr(config.log_format));
        let Some(otlp) = &config.otlp else {
            // One filter for all: what nobody reads is not even made.
            let _ = tracing_subscriber::registry().with(lines.and_then(filter)).try_init();
            return Self { spans: None };
        };
        let spans = match otlp::Spans::new(otlp, service) {
            Ok(spans) => spans,
            Err(error) => {
                let _ = tracing_subscriber::registry().with(lines.and_then(filter)).try_init();
                tracing::error!(error, "no traces");
                return Self { spans: None };
            }
        };
        let layers = lines.with_filter(filter).and_then(spans.layer());
        match tracing_subscriber::registry().with(layers).try_init() {
            Ok(()) => Self { spans: Some(spans) },
            Err(_) => Self { spans: None },
        }
    }

    /// Sends the spans that are left, within 3 s.
    pub async fn close(self) {
        if let Some(spans) = self.spans {
            spans.close().await;
        }
    }
}

/// Sends logs to stderr; `false` when the process already had a subscriber, which then stays.
pub fn init_logs(filter: &LogFilter, format: LogFormat) -> bool {
    tracing_subscriber::registry().with(logs::to_stderr(format).and_then(filter.build())).try_init().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_set_up_once_and_a_second_time_is_harmless() {
        let filter: LogFilter = "warn,gantry_store=debug".parse().unwrap();
        assert!(init_logs(&filter, LogFormat::Json));
        assert!(!init_logs(&LogFilter::default(), LogFormat::Pretty));
    }
}

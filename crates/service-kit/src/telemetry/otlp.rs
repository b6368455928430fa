//! Spans for a collector, by OTLP over HTTP (protobuf): the protocol's default, which passes proxies and needs no second
//! HTTP stack. Off unless an endpoint is set.
//!
//! A collector that is slow or down costs nothing but spans: they wait in a bounded queue on a thread of their own, and
//! what finds it full is dropped.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanLimits,
};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;

use super::collector::{CollectorClient, Watched};
use crate::config::{Secret, Source};

/// Where spans go, and which.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    endpoint: Endpoint,
    /// Of traces that begin here; one that came with a request is kept or not as its sender decided.
    sample_ratio: f64,
    service_name: Option<String>,
    headers: HashMap<String, String>,
    resource: Vec<Pair>,
}

/// The collector's address, without the path of the signal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint(String);

impl FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim_end_matches('/');
        let uri = text.parse::<Uri>().ok();
        let good = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some()
                && uri.query().is_none()
        });
        if good { Ok(Self(text.to_owned())) } else { Err("expected http://HOST:4318 or https://HOST[:PORT]") }
    }
}

/// `name=value`, as in the conventional variables.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair(String, String);

impl FromStr for Pair {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok(Self(name.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err("expected name=value"),
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.0, self.1)
    }
}

/// What this exporter speaks; the variable may be set for a whole cluster.
const PROTOCOL: &str = "http/protobuf";

impl OtlpConfig {
    /// `otlp.*`, and the variables that OpenTelemetry gives these names; `None` without an endpoint.
    pub fn read(source: &mut Source) -> Option<Self> {
        for (key, variable) in [
            ("otlp.endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"),
            ("otlp.protocol", "OTEL_EXPORTER_OTLP_PROTOCOL"),
            ("otlp.headers", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("otlp.service_name", "OTEL_SERVICE_NAME"),
            ("otlp.resource", "OTEL_RESOURCE_ATTRIBUTES"),
        ] {
            source.alias(key, variable);
        }
        let endpoint = source.optional::<Endpoint>("otlp.endpoint");
        let protocol = source.parse("otlp.protocol", PROTOCOL.to_owned());
        let sample_ratio = source.parse("otlp.sample_ratio", 1.0);
        let headers = source.secret("otlp.headers").map(|headers| parse_headers(&headers));
        let service_name = source.optional("otlp.service_name");
        let resource = source.list("otlp.resource", Vec::new());
        if endpoint.is_some() && protocol != PROTOCOL {
            source.reject(
                "otlp.protocol",
                format!("only {PROTOCOL} is spoken: collectors take it on port 4318"),
            );
        }
        if !(0.0..=1.0).contains(&sample_ratio) {
            source.reject("otlp.sample_ratio", "give 0 to 1");
        }
        if headers == Some(None) {
            source.reject("otlp.headers", "expected name=value, several separated by commas");
        }
        let headers = headers.flatten().unwrap_or_default();
        Some(Self { endpoint: endpoint?, sample_ratio, service_name, headers, resource })
    }
}

fn parse_headers(headers: &Secret) -> Option<HashMap<String, String>> {
    let pairs = headers.expose().split(',').filter(|pair| !pair.trim().is_empty());
    pairs.map(|pair| pair.parse().ok().map(|Pair(name, value)| (name, value))).collect()
}

/// Spans that wait; about a kilobyte each.
const QUEUE: usize = 4096;
const BATCH: usize = 512;
const EVERY: Duration = Duration::from_secs(2);
/// One batch, tries included.
const EXPORT: Duration = Duration::from_secs(5);
const FLUSH: Duration = Duration::from_secs(3);

/// The way of spans to the collector.
pub(super) struct Spans {
    provider: SdkTracerProvider,
}

impl Spans {
    pub fn new(config: &OtlpConfig, service: &'static str) -> Result<Self, String> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(CollectorClient::new()?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", config.endpoint.0))
            .with_headers(config.headers.clone())
            .with_timeout(EXPORT)
            .build()
            .map_err(|error| error.to_string())?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(EVERY)
            .build();
        let watched = Watched::new(exporter, config.endpoint.0.clone());
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(watched).with_batch_config(batches).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio))))
            .with_span_limits(SpanLimits {
                max_events_per_span: 0,
                max_links_per_span: 0,
                ..SpanLimits::default()
            })
            .with_resource(resource(config, service))
            .build();
        Ok(Self { provider })
    }

    /// Only our own spans, and no events: what a log line says stays in the log.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let ours = FilterFn::new(|metadata| metadata.is_span() && metadata.target().starts_with("gantry"));
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("gantry"))
            .with_location(false)
            .with_threads(false)
            .with_level(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(ours.with_max_level_hint(LevelFilter::DEBUG))
    }

    pub async fn close(self) {
        let flushed =
            tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH).is_ok()).await;
        if !matches!(flushed, Ok(true)) {
            tracing::warn!("the last spans did not reach the collector");
        }
    }
}

fn resource(config: &OtlpConfig, service: &'static str) -> Resource {
    let name = config.service_name.clone().unwrap_or_else(|| service.to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Resource::builder_empty()
        .with_attributes(
            config.resource.iter().map(|Pair(name, value)| KeyValue::new(name.clone(), value.clone())),
        )
        .with_attribute(KeyValue::new("service.name", name))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", format!("{:016x}", rand::random::<u64>())))
        .with_attribute(KeyValue::new("host.name", host.trim().to_owned()))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Option<OtlpConfig>, Vec<String>) {
        let mut source = Source::new(variables.iter().copied());
        let config = OtlpConfig::read(&mut source);
        let errors = source.finish().err().map(|errors| errors.0);
        (config, errors.into_iter().flatten().map(|error| error.to_string()).collect())
    }

    #[test]
    fn without_an_endpoint_there_are_no_traces() {
        let (config, errors) = read(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
        assert!(config.is_none() && errors.is_empty(), "{errors:?}");
    }

    #[test]
    fn the_conventional_variables_are_read() {
        let (config, errors) = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer x, team=qa"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging,zone=b"),
            ("GANTRY_OTLP_SAMPLE_RATIO", "0.25"),
        ]);
        assert!(errors.is_empty(), "{errors:?}");
        let config = config.unwrap();
        assert_eq!(config.endpoint.0, "https://collector:4318");
        assert!((config.sample_ratio - 0.25).abs() < f64::EPSILON);
        assert_eq!(config.headers["authorization"], "Bearer x");
        assert_eq!(config.resource[1], Pair("zone".into(), "b".into()));
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        let endpoint = ("GANTRY_OTLP_ENDPOINT", "http://collector:4318");
        for wrong in [
            ("GANTRY_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("GANTRY_OTLP_SAMPLE_RATIO", "2"),
            ("GANTRY_OTLP_HEADERS", "nothing"),
        ] {
            let (_, errors) = read(&[endpoint, wrong]);
            assert_eq!(errors.len(), 1, "{wrong:?}: {errors:?}");
            assert!(!errors[0].contains("nothing"), "{errors:?}");
        }
    }
}

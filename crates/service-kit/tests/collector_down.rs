//! A collector that is down costs spans, never time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use gantry_service_kit::config::Source;
use gantry_service_kit::telemetry::{Metrics, Telemetry, TelemetryConfig, trace};

/// More than may wait.
const SPANS: u32 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_costs_nobody_time() {
    // It takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut source = Source::new([("GANTRY_OTLP_ENDPOINT", endpoint.as_str()), ("GANTRY_LOG_FILTER", "off")]);
    let config = TelemetryConfig::read(&mut source);
    source.finish().unwrap();
    let metrics = Metrics::install().unwrap();
    let telemetry = Telemetry::start(&config, "gantry-test");

    let begun = Instant::now();
    for i in 0..SPANS {
        let span = tracing::info_span!(target: "gantry_test", "work", i);
        assert!(trace::context_of(&span).contains_key("traceparent"), "spans are made");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "making spans took {:?}", begun.elapsed());

    let begun = Instant::now();
    telemetry.close().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "the end took {:?}", begun.elapsed());
    drop(silent);
    while !metrics.render().contains("gantry_otlp_spans_total{result=\"lost\"}") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", metrics.render());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

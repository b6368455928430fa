//! What operators see of a run: one trace at their collector, and its id on every line of the log that is about it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use gantry_tests::Installation;
use gantry_tests::cluster::{Addresses, Cluster, OwnNames, Plan};
use gantry_tests::collector::Collector;
use gantry_tests::one_trace::{Executor, SECRET, one_run_is_one_trace};
use gantry_tests::registry::Registry;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_one_trace_and_its_log_lines_name_it() {
    let collector = Collector::start().await.unwrap();
    let installation = Installation::new("process")
        .unwrap()
        .set("GANTRY_OTLP_ENDPOINT", collector.url())
        .set("GANTRY_LOG_FILTER", "info,gantry_worker=debug,gantry_producer=debug")
        .set(&format!("GANTRY_SECRETS_{}", SECRET.0), SECRET.1);
    let up = installation.up().unwrap();
    let (id, spans) = one_run_is_one_trace(&up.url, &up.key, Executor::Process, &collector).await;
    assert!(spans.iter().all(|span| span.service == "gantry"), "{spans:?}");

    let organization = spans[0].attribute("org.id");
    let log = up.log();
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| line.contains(&id.to_string()))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(lines.len() >= 2, "both ends of an attempt are logged: {log}");
    for line in lines {
        let field =
            |name: &str| line[name].as_str().or(line["span"][name].as_str()).unwrap_or("absent").to_owned();
        assert_eq!((field("run.id"), field("org.id")), (id.to_string(), organization.to_owned()), "{line}");
    }
    assert!(!log.contains(SECRET.1), "a secret in the log");
    up.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_one_trace_through_rabbitmq() {
    let collector = Collector::start().await.unwrap();
    let names = OwnNames::new();
    let installation = Installation::new("process")
        .unwrap()
        .set("GANTRY_OTLP_ENDPOINT", collector.url())
        .set("GANTRY_QUEUE", &Addresses::private().amqp)
        .set("GANTRY_QUEUE_PREFIX", names.prefix())
        .set(&format!("GANTRY_SECRETS_{}", SECRET.0), SECRET.1);
    let up = installation.up().unwrap();
    one_run_is_one_trace(&up.url, &up.key, Executor::Process, &collector).await;
    up.stop().unwrap();
}

/// As deployed: processes of their own, a broker between them, and an image that must come first.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_one_trace_from_the_producer_through_the_broker_to_the_container() {
    let (collector, registry) = (Collector::start().await.unwrap(), Registry::start().await.unwrap());
    let plan = Plan::over(Addresses::private()).of(1, 1).patient().with_docker();
    let secret = format!("GANTRY_SECRETS_{}", SECRET.0);
    let plan = plan
        .producers_with("GANTRY_OTLP_ENDPOINT", collector.url())
        .producers_with(&secret, SECRET.1)
        .workers_with("GANTRY_OTLP_ENDPOINT", collector.url());
    let cluster = Cluster::start(plan).await.unwrap();
    let (url, image) = (format!("http://{}", cluster.public_address(0)), registry.image());
    let executor = Executor::Docker { image: &image };
    let (_, spans) = one_run_is_one_trace(&url, &cluster.key, executor, &collector).await;
    const OF_WORKER: [&str; 11] = [
        "attempt", "claim", "prepare", "create", "pull", "starting", "start", "wait", "collect", "finish",
        "destroy",
    ];
    for span in &spans {
        let service = if OF_WORKER.contains(&&*span.name) { "gantry-worker" } else { "gantry-producer" };
        assert_eq!(span.service, service, "{span:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_brings_the_last_spans_to_the_collector() {
    let collector = Collector::start().await.unwrap();
    let installation =
        Installation::new("process").unwrap().set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    let up = installation.up().unwrap();
    let client = up.client().unwrap();
    // The last thing before the end, and sooner than any batch is due.
    let _ = client.get_run(gantry_domain::id::RunId::new()).await;
    up.stop().unwrap();
    assert!(collector.heard_of("/api/v1/runs/{id}"), "the span of the last request");
}

//! How much a worker itself costs: no-op runs per second, and log bytes per second through masking and batching, against
//! a producer and an executor that cost nearly nothing.
//!
//! `cargo run --release -p gantry-worker --example worker_rates`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_domain::spec::Pool;
use gantry_domain::time::SystemClock;
use gantry_executor::fake::FakeExecutor;
use gantry_queue::{EmbeddedQueue, Queue, RunMessage};
use gantry_service_kit::shutdown::Shutdown;
use gantry_worker::{Worker, WorkerParts};
use support::config;
use support::producer::{ScriptedProducer, Work};

const RUNS: usize = 20_000;
const LOG_BYTES: u64 = 512 << 20;

#[tokio::main]
async fn main() {
    for slots in [1, 16, 64, 128] {
        let rate = no_op_runs(slots).await;
        println!("no-op runs, {slots:>3} slots: {rate:>8.0} runs/s");
    }
    for secrets in [0, 1, 50] {
        let rate = log_bytes(secrets).await;
        println!("log bytes, {secrets:>2} secrets: {rate:>8.0} MB/s");
    }
}

/// A worker over a producer that remembers nothing.
fn start(slots: u32) -> (Arc<ScriptedProducer>, Arc<EmbeddedQueue>, Shutdown) {
    let executor = Arc::new(FakeExecutor::new());
    let mut producer = ScriptedProducer::new(executor.clone());
    producer.forgetful = true;
    let (producer, queue, shutdown) = (Arc::new(producer), Arc::new(EmbeddedQueue::new()), Shutdown::new());
    let parts = WorkerParts {
        producer: producer.clone(),
        queue: queue.clone(),
        executor,
        clock: Arc::new(SystemClock),
    };
    tokio::spawn(Worker::new(parts, config(slots)).run(shutdown.clone()));
    (producer, queue, shutdown)
}

async fn carry_out(producer: &ScriptedProducer, queue: &EmbeddedQueue, works: Vec<Work>) -> Duration {
    let before = producer.ended();
    let runs: Vec<_> = works.into_iter().map(|work| producer.queue_run(work)).collect();
    let wanted = before + runs.len();
    let begun = Instant::now();
    for (run, dispatch) in runs {
        let message = RunMessage { run, dispatch, trace: Default::default() };
        queue.publish(&Pool::default(), message).await.unwrap();
    }
    while producer.ended() < wanted {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    begun.elapsed()
}

async fn no_op_runs(slots: u32) -> f64 {
    let (producer, queue, shutdown) = start(slots);
    let works = vec![Work::new(&["true"]); RUNS];
    let took = carry_out(&producer, &queue, works).await;

    shutdown.trigger();
    RUNS as f64 / took.as_secs_f64()
}

async fn log_bytes(secrets: usize) -> f64 {
    let (producer, queue, shutdown) = start(1);
    let masked = (0..secrets).map(|n| format!("xxs3cret-{n:032}")).collect();
    let fill = format!("fake:fill={LOG_BYTES}");
    let work = Work { masked, log_limit_bytes: u64::MAX, ..Work::new(&[&fill]) };
    let took = carry_out(&producer, &queue, vec![work]).await;
    shutdown.trigger();
    LOG_BYTES as f64 / 1e6 / took.as_secs_f64()
}

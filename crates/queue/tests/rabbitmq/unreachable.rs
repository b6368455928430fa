//! Brokers that cannot be talked to: each call says so, in time, and without secrets.

use std::time::{Duration, Instant};

use gantry_domain::id::RunId;
use gantry_domain::spec::Pool;
use gantry_queue::{ControlMessage, Queue as _, QueueError, RabbitOptions, RabbitQueue};
use tokio::net::TcpListener;

use crate::setup::{eventually, is_unavailable, message, options, shared_broker};

async fn nothing_works(queue: &RabbitQueue) {
    let pool = Pool::default();
    assert!(is_unavailable(&queue.publish(&pool, message()).await));
    assert!(is_unavailable(&queue.depth(&pool).await));
    assert!(is_unavailable(&queue.consume(&pool).await));
    assert!(is_unavailable(&queue.control().await));
    let cancel = ControlMessage::Cancel { run: RunId::new(), attempt: 1 };
    assert!(is_unavailable(&queue.broadcast(cancel).await));
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_said_to_be_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let queue = RabbitQueue::connect(options(&format!("amqp://u:hunter2@127.0.0.1:{port}/"))).await.unwrap();
    let begun = Instant::now();
    nothing_works(&queue).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    queue.close().await;
}

/// Threads of the driver, each of which belongs to a connection.
fn driver_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name =
        |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.unwrap().path().join("comm"));
    tasks.filter_map(|task| name(task).ok()).filter(|name| name.starts_with("lapin-io")).count()
}

/// In a process of its own: others' connections would be counted.
#[test]
fn a_server_that_says_nothing_is_given_up_and_leaves_nothing_behind() {
    const ALONE: &str = "GANTRY_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "unreachable::a_server_that_says_nothing_is_given_up_and_leaves_nothing_behind";
        let mut itself = std::process::Command::new(std::env::current_exe().unwrap());
        let status = itself.args(["--exact", name, "--nocapture"]).env(ALONE, "1").status().unwrap();
        assert!(status.success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut options = options(&format!("amqp://u:hunter2@{}/", listener.local_addr().unwrap()));
        options.connect_timeout = Duration::from_millis(200);
        options.longest_pause = Duration::from_millis(10);
        let queue = RabbitQueue::connect(options).await.unwrap();
        let begun = Instant::now();
        nothing_works(&queue).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        let mut silent = Vec::new();
        while silent.len() < 20 {
            silent.push(listener.accept().await.unwrap());
            let threads = driver_threads();
            assert!(threads <= 6, "{threads} threads after {} tries", silent.len());
        }
        queue.close().await;
        drop(queue);
        eventually("the driver's threads end", async || driver_threads() == 0).await;
    });
}

#[tokio::test]
async fn a_wrong_password_is_reported_without_it() {
    let address = shared_broker();
    let at = address.rsplit_once('@').expect("the test broker's address has credentials").1;
    let queue = RabbitQueue::connect(options(&format!("amqp://nobody:hunter2@{at}"))).await.unwrap();
    let error = queue.depth(&Pool::default()).await.unwrap_err();
    assert!(matches!(error, QueueError::Unavailable(_)), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    queue.close().await;
}

#[tokio::test]
async fn nonsense_is_refused_before_anything_is_tried() {
    let mut bad_prefix = RabbitOptions::new("amqp://127.0.0.1/");
    bad_prefix.prefix = "with space".to_owned();
    for options in [RabbitOptions::new("amqp://u:hunter2@"), RabbitOptions::new("redis://h/"), bad_prefix] {
        match RabbitQueue::connect(options).await {
            Err(QueueError::Misconfigured(why)) => assert!(!why.contains("hunter2"), "{why}"),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("accepted"),
        }
    }
}

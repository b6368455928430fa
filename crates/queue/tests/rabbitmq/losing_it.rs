//! The broker goes away and comes back, in every way it can.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use gantry_domain::id::RunId;
use gantry_domain::spec::Pool;
use gantry_queue::{ControlMessage, Queue as _, RabbitQueue};

use crate::broker::Broker;
use crate::setup::{eventually, is_unavailable, message, next, options, publish_stubbornly, show_logs, soon};

/// Promised.
const BACK_WITHIN: Duration = Duration::from_secs(30);

async fn connect(broker: &Broker) -> Arc<RabbitQueue> {
    show_logs();
    Arc::new(RabbitQueue::connect(options(&broker.uri())).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_later_is_found_and_survives_a_restart_with_its_messages() {
    let mut broker = Broker::new();
    let (queue, pool) = (connect(&broker).await, Pool::default());
    assert!(is_unavailable(&queue.publish(&pool, message()).await));
    assert!(is_unavailable(&queue.consume(&pool).await));
    broker.start().await;
    let back = Instant::now();
    let (first, second) = (message(), message());
    publish_stubbornly(&queue, &first).await;
    assert!(back.elapsed() < BACK_WITHIN);
    let mut consumer = None;
    eventually("consuming", async || {
        consumer = queue.consume(&pool).await.ok();
        consumer.is_some()
    })
    .await;
    let mut consumer = consumer.unwrap();
    let mut control = queue.control().await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.message, first);
    delivery.ack().await.unwrap();
    queue.publish(&pool, second.clone()).await.unwrap();
    let held = next(&mut consumer).await;

    broker.stop().await;
    eventually("noticed", async || is_unavailable(&queue.depth(&pool).await)).await;
    let asked = Instant::now();
    assert!(is_unavailable(&queue.publish(&pool, message()).await));
    assert!(asked.elapsed() < Duration::from_secs(1), "known to be away");
    assert!(is_unavailable(&held.ack().await), "it comes again");
    broker.start().await;
    let back = Instant::now();
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.message, second);
    delivery.ack().await.unwrap();
    assert!(back.elapsed() < BACK_WITHIN);
    eprintln!("consuming again {:?} after the broker's return", back.elapsed());
    let cancel = ControlMessage::Cancel { run: RunId::new(), attempt: 1 };
    let heard = tokio::spawn(async move { control.next().await });
    eventually("a control message", async || {
        let _ = queue.broadcast(cancel.clone()).await;
        heard.is_finished()
    })
    .await;
    assert_eq!(heard.await.unwrap(), Some(cancel));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_was_confirmed_is_lost_when_the_broker_is_killed_under_load() {
    let mut broker = Broker::started().await;
    let (producer, pool) = (connect(&broker).await, Pool::default());
    let mut same = options(&broker.uri());
    same.prefix = producer.prefix().to_owned();
    let worker = RabbitQueue::connect(same).await.unwrap();
    publish_stubbornly(&producer, &message()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..8)
        .map(|_| {
            let (producer, pool, stop) = (Arc::clone(&producer), pool.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut confirmed, mut failed) = (Vec::new(), 0_u32);
                while !stop.load(Ordering::SeqCst) {
                    let message = message();
                    match producer.publish(&pool, message.clone()).await {
                        Ok(()) => confirmed.push(message.run),
                        Err(_) => failed += 1,
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                (confirmed, failed)
            })
        })
        .collect();
    let mut consumer = worker.consume(&pool).await.unwrap();
    let (report, mut received) = tokio::sync::mpsc::channel(100_000);
    let consuming = tokio::spawn(async move {
        while let Some(delivery) = consumer.next().await {
            let run = delivery.message.run;
            // One that cannot be acknowledged comes again.
            let _ = delivery.ack().await;
            report.send(run).await.unwrap();
        }
    });
    let (mut seen, mut slowest) = (HashSet::new(), Duration::ZERO);
    for _ in 0..3 {
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            seen.insert(soon("a message", received.recv()).await.unwrap());
        }
        broker.kill().await;
        while received.try_recv().map(|run| seen.insert(run)).is_ok() {}
        broker.start().await;
        let back = Instant::now();
        seen.insert(soon("a message", received.recv()).await.unwrap());
        slowest = slowest.max(back.elapsed());
    }
    stop.store(true, Ordering::SeqCst);
    let (mut confirmed, mut failed) = (HashSet::new(), 0);
    for publisher in publishers {
        let (runs, failures) = publisher.await.unwrap();
        confirmed.extend(runs);
        failed += failures;
    }
    while !confirmed.is_subset(&seen) {
        let missing = confirmed.difference(&seen).count();
        let came = tokio::time::timeout(Duration::from_secs(60), received.recv()).await;
        seen.insert(came.unwrap_or_else(|_| panic!("{missing} of {} are lost", confirmed.len())).unwrap());
    }
    eprintln!("{} confirmed, {failed} failed, back after {slowest:?} at most", confirmed.len());
    assert!(confirmed.len() > 100 && failed > 0, "the broker was killed under load");
    assert!(slowest < BACK_WITHIN);
    worker.close().await;
    consuming.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_come_back() {
    let broker = Broker::started().await;
    let (queue, pool) = (connect(&broker).await, Pool::default());
    let mut consumer = queue.consume(&pool).await.unwrap();
    let mut control = queue.control().await.unwrap();
    let (sent, heard) = tokio::sync::mpsc::channel(10);
    let listening = tokio::spawn(async move {
        while let Some(message) = control.next().await {
            sent.send(message).await.unwrap();
        }
    });
    let mut heard = heard;
    for attempt in 1..=3 {
        let expected = message();
        publish_stubbornly(&queue, &expected).await;
        let delivery = next(&mut consumer).await;
        // One that was published twice over the loss of a connection comes twice.
        let delivery = if delivery.message == expected { delivery } else { next(&mut consumer).await };
        assert_eq!(delivery.message, expected);
        delivery.ack().await.unwrap();
        let cancel = ControlMessage::Cancel { run: RunId::new(), attempt };
        soon("heard", async {
            loop {
                let _ = queue.broadcast(cancel.clone()).await;
                let within = tokio::time::timeout(Duration::from_millis(500), heard.recv()).await;
                if within.is_ok_and(|message| message.as_ref() == Some(&cancel)) {
                    break;
                }
            }
        })
        .await;
        broker.ctl(&["close_all_connections", "a test"]).await;
    }
    queue.close().await;
    soon("the stream ends", listening).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_short_of_memory_is_said_to_take_nothing_while_consuming_goes_on() {
    let broker = Broker::started().await;
    let (queue, pool) = (connect(&broker).await, Pool::default());
    let mut consumer = queue.consume(&pool).await.unwrap();
    let waiting: Vec<_> = (0..3).map(|_| message()).collect();
    for message in &waiting {
        queue.publish(&pool, message.clone()).await.unwrap();
    }
    broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await;
    // The broker tells a connection only when that publishes something.
    eventually("blocked", async || is_unavailable(&queue.publish(&pool, message()).await)).await;
    let asked = Instant::now();
    assert!(is_unavailable(&queue.publish(&pool, message()).await));
    assert!(is_unavailable(&queue.depth(&pool).await));
    assert!(asked.elapsed() < Duration::from_secs(1), "known to be blocked");
    for expected in &waiting {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.message, *expected);
        delivery.ack().await.unwrap();
    }
    broker.ctl(&["set_vm_memory_high_watermark", "0.6"]).await;
    publish_stubbornly(&queue, &message()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_freezes_is_noticed_and_found_again() {
    let broker = Broker::started().await;
    let mut options = options(&broker.uri());
    options.heartbeat = Duration::from_secs(1);
    options.publish_timeout = Duration::from_secs(1);
    options.call_timeout = Duration::from_secs(1);
    options.connect_timeout = Duration::from_secs(1);
    let (queue, pool) = (RabbitQueue::connect(options).await.unwrap(), Pool::default());
    let mut consumer = queue.consume(&pool).await.unwrap();
    queue.publish(&pool, message()).await.unwrap();
    next(&mut consumer).await.ack().await.unwrap();
    broker.freeze();
    let asked = Instant::now();
    assert!(is_unavailable(&queue.publish(&pool, message()).await));
    assert!(asked.elapsed() < Duration::from_secs(3));
    // Half-open: nothing but heartbeats tells, after which calls no longer wait.
    eventually("noticed", async || {
        let asked = Instant::now();
        is_unavailable(&queue.depth(&pool).await) && asked.elapsed() < Duration::from_millis(100)
    })
    .await;
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    broker.thaw();
    let back = Instant::now();
    let expected = message();
    publish_stubbornly(&queue, &expected).await;
    soon("taken", async {
        loop {
            let delivery = next(&mut consumer).await;
            let came = delivery.message == expected;
            let _ = delivery.ack().await;
            if came {
                break;
            }
        }
    })
    .await;
    assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
}

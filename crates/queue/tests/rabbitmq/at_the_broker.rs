//! What may happen to queues and messages while the broker itself is well.

use std::time::{Duration, Instant};

use futures::future::join_all;
use gantry_domain::spec::Pool;
use gantry_queue::{Consumer, Queue as _, QueueError};
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};

use crate::setup::{AtBroker, eventually, message, next};

/// Publishes until it is taken, as the dispatcher does: what is published while its queue is being deleted the broker
/// confirms and forgets.
async fn goes_through(broker: &AtBroker, consumer: &mut Box<dyn Consumer>) {
    let (pool, expected) = (Pool::default(), message());
    let begun = Instant::now();
    loop {
        broker.queue.publish(&pool, expected.clone()).await.unwrap();
        while let Ok(delivery) = tokio::time::timeout(Duration::from_secs(1), consumer.next()).await {
            let delivery = delivery.expect("the queue is open");
            let came = delivery.message == expected;
            delivery.ack().await.unwrap();
            if came {
                return;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing goes through");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_made_again_and_its_consumer_goes_on() {
    let broker = AtBroker::start().await;
    let mut consumer = broker.queue.consume(&Pool::default()).await.unwrap();
    for _ in 0..3 {
        goes_through(&broker, &mut consumer).await;
        broker.delete_runs(&Pool::default()).await;
    }
    goes_through(&broker, &mut consumer).await;
    broker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_hand_while_its_queue_is_deleted_harms_nothing() {
    let broker = AtBroker::start().await;
    let pool = Pool::default();
    let mut consumer = broker.queue.consume(&pool).await.unwrap();
    broker.queue.publish(&pool, message()).await.unwrap();
    let held = next(&mut consumer).await;
    broker.delete_runs(&pool).await;
    // It went with its queue, and acknowledging it says so or does not.
    let _ = held.ack().await;
    goes_through(&broker, &mut consumer).await;
    broker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_message_is_set_aside_and_the_next_one_is_taken() {
    let broker = AtBroker::start().await;
    let pool = Pool::default();
    let mut consumer = broker.queue.consume(&pool).await.unwrap();
    let expected = message();
    let newer = format!(r#"{{"v":2,"run":"{}","dispatch":"{}"}}"#, expected.run, expected.dispatch);
    let unreadable: [&[u8]; 3] = [b"\xff not JSON", newer.as_bytes(), b""];
    for body in unreadable {
        broker.inject(&pool, body).await;
    }
    broker.queue.publish(&pool, expected.clone()).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.message, expected);
    delivery.ack().await.unwrap();
    for body in unreadable {
        let (set_aside, why, from) = broker.take_dead().await;
        assert_eq!(
            (set_aside.as_slice(), why.as_str(), from),
            (body, "rejected", broker.runs(&pool)),
            "{set_aside:?}"
        );
    }
    broker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_keeps_coming_back_is_set_aside() {
    let broker = AtBroker::start().await;
    let pool = Pool::default();
    let mut consumer = broker.queue.consume(&pool).await.unwrap();
    let (poison, innocent) = (message(), message());
    broker.queue.publish(&pool, poison.clone()).await.unwrap();
    broker.queue.publish(&pool, innocent.clone()).await.unwrap();
    let mut deliveries = 0;
    loop {
        let delivery = next(&mut consumer).await;
        if delivery.message == innocent {
            delivery.ack().await.unwrap();
            if deliveries > 20 {
                break;
            }
            broker.queue.publish(&pool, innocent.clone()).await.unwrap();
            continue;
        }
        deliveries += 1;
        assert!(deliveries <= 21, "the limit is 20 returns");
    }
    assert_eq!(deliveries, 21);
    let (body, why, from) = broker.take_dead().await;
    assert!(String::from_utf8(body).unwrap().contains(&poison.run.to_string()));
    assert_eq!((why.as_str(), from), ("delivery_limit", broker.runs(&pool)));
    broker.end().await;
}

/// The driver hands a returned message to whichever confirmation comes next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returned_message_is_never_taken_for_another_one() {
    let broker = AtBroker::start().await;
    let (plain, gpu) = (Pool::default(), "gpu".parse::<Pool>().unwrap());
    for round in 1..=10 {
        for pool in [&plain, &gpu] {
            broker.queue.publish(pool, message()).await.unwrap();
        }
        broker.delete_runs(&gpu).await;
        let published = (0..200).map(|number| {
            let pool = if number % 2 == 0 { &plain } else { &gpu };
            broker.queue.publish(pool, message())
        });
        for published in join_all(published).await {
            published.unwrap();
        }
        eventually("every message is where it belongs", async || {
            broker.ready(&broker.runs(&plain)).await == round * 101
                && broker.ready(&broker.runs(&gpu)).await == 100
        })
        .await;
    }
    broker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pausing_with_empty_hands_loses_nothing() {
    let broker = AtBroker::start().await;
    let pool = Pool::default();
    let mut consumer = broker.queue.consume(&pool).await.unwrap();
    for _ in 0..30 {
        let expected = message();
        // The consumer is there, and the message is on its way to it or not.
        assert!(futures::FutureExt::now_or_never(consumer.next()).is_none());
        broker.queue.publish(&pool, expected.clone()).await.unwrap();
        consumer.pause().await;
        eventually("it is back in the queue", async || broker.ready(&broker.runs(&pool)).await == 1).await;
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.message, expected);
        delivery.ack().await.unwrap();
    }
    broker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_somebody_made_otherwise_is_used_as_it_is() {
    let broker = AtBroker::start().await;
    let pool = Pool::default();
    let (options, none) = (QueueDeclareOptions::durable(), FieldTable::default());
    broker.channel.queue_declare(broker.runs(&pool).into(), options, none).await.unwrap();
    let mut consumer = broker.queue.consume(&pool).await.unwrap();
    for _ in 0..3 {
        let expected = message();
        broker.queue.publish(&pool, expected.clone()).await.unwrap();
        assert!(broker.queue.depth(&pool).await.is_ok());
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.message, expected);
        delivery.ack().await.unwrap();
    }
    broker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_what_it_does_not_take_and_takes_again_when_there_is_room() {
    let broker = AtBroker::start().await;
    let pool = Pool::default();
    let mut small = FieldTable::default();
    small.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    small.insert("x-max-length".into(), AMQPValue::LongInt(3));
    small.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let options = QueueDeclareOptions::durable();
    broker.channel.queue_declare(broker.runs(&pool).into(), options, small).await.unwrap();
    let mut taken = Vec::new();
    let full = loop {
        let next = message();
        match broker.queue.publish(&pool, next.clone()).await {
            Ok(()) => taken.push(next),
            Err(error) => break error,
        }
        // A quorum queue may take some more before it notices.
        assert!(taken.len() < 100, "it never gets full");
    };
    assert_eq!(full, QueueError::Full(pool.clone()));
    // What it took, and nothing else, is there; and then there is room.
    let mut consumer = broker.queue.consume(&pool).await.unwrap();
    for expected in &taken {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.message, *expected);
        delivery.ack().await.unwrap();
    }
    let expected = message();
    eventually("room again", async || broker.queue.publish(&pool, expected.clone()).await.is_ok()).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.message, expected);
    delivery.ack().await.unwrap();
    broker.end().await;
}

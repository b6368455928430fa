//! Each message to one consumer of its pool, and back when it is not acknowledged.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use gantry_domain::id::RunId;
use gantry_domain::spec::Pool;
use tokio::sync::mpsc;

use super::{depth_becomes, message, next, publish, soon, take};
use crate::Queue;

pub(crate) async fn each_message_reaches_exactly_one_consumer(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    let mut first = queue.consume(&pool).await.unwrap();
    let mut second = queue.consume(&pool).await.unwrap();
    let published = publish(&queue, &pool, 20).await;
    let mut received = HashSet::new();
    for _ in 0..10 {
        assert!(received.insert(take(&mut first).await.run));
        assert!(received.insert(take(&mut second).await.run));
    }
    assert_eq!(received, published.iter().map(|message| message.run).collect());
    depth_becomes(&queue, &pool, 0).await;
}

pub(crate) async fn messages_come_whole_and_in_order(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    let mut consumer = queue.consume(&pool).await.unwrap();
    for expected in publish(&queue, &pool, 100).await {
        assert_eq!(take(&mut consumer).await, expected);
    }
}

pub(crate) async fn a_dropped_delivery_comes_again(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    let mut consumer = queue.consume(&pool).await.unwrap();
    let published = publish(&queue, &pool, 1).await;
    for _ in 0..2 {
        assert_eq!(next(&mut consumer).await.message, published[0]);
    }
    assert_eq!(take(&mut consumer).await, published[0]);
    depth_becomes(&queue, &pool, 0).await;
}

pub(crate) async fn a_dropped_consumer_gives_back_what_it_holds(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    let mut lost = queue.consume(&pool).await.unwrap();
    let published = publish(&queue, &pool, 1).await;
    let held = next(&mut lost).await;
    let mut other = queue.consume(&pool).await.unwrap();
    drop(lost);
    let again = next(&mut other).await;
    assert_eq!(again.message, published[0]);
    assert!(held.ack().await.is_err(), "it belongs to another consumer now");
    again.ack().await.unwrap();
    depth_becomes(&queue, &pool, 0).await;
}

pub(crate) async fn a_waiting_consumer_gets_what_others_give_back(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    let mut first = queue.consume(&pool).await.unwrap();
    let published = publish(&queue, &pool, 1).await;
    let held = next(&mut first).await;
    first.pause().await;
    let mut second = queue.consume(&pool).await.unwrap();
    let mut waiting = Box::pin(second.next());
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(held);
    let held_by_second = soon(waiting).await.expect("the queue is open");
    assert_eq!(held_by_second.message, published[0]);

    let mut waiting = Box::pin(first.next());
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(second);
    assert_eq!(soon(waiting).await.expect("the queue is open").message, published[0]);
}

pub(crate) async fn an_acknowledged_message_is_gone(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    let mut consumer = queue.consume(&pool).await.unwrap();
    let published = publish(&queue, &pool, 2).await;
    assert_eq!(take(&mut consumer).await, published[0]);
    drop(consumer);
    let mut consumer = queue.consume(&pool).await.unwrap();
    assert_eq!(take(&mut consumer).await, published[1]);
    depth_becomes(&queue, &pool, 0).await;
}

pub(crate) async fn a_message_waits_for_a_consumer_to_come(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    drop(queue.consume(&pool).await.unwrap());
    let published = publish(&queue, &pool, 3).await;
    let mut consumer = queue.consume(&pool).await.unwrap();
    for expected in published {
        assert_eq!(take(&mut consumer).await, expected);
    }
}

pub(crate) async fn pools_do_not_mix(queue: Arc<dyn Queue>) {
    let (plain, gpu) = (Pool::default(), "gpu".parse::<Pool>().unwrap());
    let mut of_plain = queue.consume(&plain).await.unwrap();
    let mut of_gpu = queue.consume(&gpu).await.unwrap();
    let (plain_1, gpu_1) = (publish(&queue, &plain, 1).await, publish(&queue, &gpu, 1).await);
    let (plain_2, gpu_2) = (publish(&queue, &plain, 1).await, publish(&queue, &gpu, 1).await);
    for (expected_plain, expected_gpu) in [(plain_1, gpu_1), (plain_2, gpu_2)] {
        assert_eq!(take(&mut of_plain).await, expected_plain[0]);
        assert_eq!(take(&mut of_gpu).await, expected_gpu[0]);
    }
}

pub(crate) async fn the_depth_counts_waiting_and_unacknowledged_messages(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    let mut consumer = queue.consume(&pool).await.unwrap();
    depth_becomes(&queue, &pool, 0).await;
    publish(&queue, &pool, 3).await;
    depth_becomes(&queue, &pool, 3).await;
    let held = next(&mut consumer).await;
    depth_becomes(&queue, &pool, 3).await;
    consumer.pause().await;
    held.ack().await.unwrap();
    depth_becomes(&queue, &pool, 2).await;
}

pub(crate) async fn a_paused_consumer_takes_no_message(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    let mut full = queue.consume(&pool).await.unwrap();
    publish(&queue, &pool, 1).await;
    let last = next(&mut full).await;
    full.pause().await;
    last.ack().await.unwrap();

    let mut other = queue.consume(&pool).await.unwrap();
    for expected in publish(&queue, &pool, 5).await {
        assert_eq!(take(&mut other).await, expected);
    }
    drop(other);

    let resumed = publish(&queue, &pool, 1).await;
    assert_eq!(take(&mut full).await, resumed[0]);
}

pub(crate) async fn a_cancelled_next_loses_nothing(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    let mut consumer = queue.consume(&pool).await.unwrap();
    for _ in 0..50 {
        let expected = message();
        let publishing = queue.publish(&pool, expected.clone());
        let early = tokio::select! {
            delivery = consumer.next() => Some(delivery.expect("the queue is open")),
            published = publishing => { published.unwrap(); None }
        };
        let received = match early {
            Some(delivery) => {
                let message = delivery.message.clone();
                delivery.ack().await.unwrap();
                message
            }
            None => take(&mut consumer).await,
        };
        assert_eq!(received, expected);
    }
}

pub(crate) async fn ten_thousand_messages_reach_four_consumers_once(queue: Arc<dyn Queue>) {
    const COUNT: usize = 10_000;
    let pool = Pool::default();
    let (report, mut reports) = mpsc::channel::<RunId>(COUNT);
    let mut consumers = Vec::new();
    for _ in 0..4 {
        let mut consumer = queue.consume(&pool).await.unwrap();
        let report = report.clone();
        consumers.push(tokio::spawn(async move {
            while let Some(delivery) = consumer.next().await {
                let run = delivery.message.run;
                delivery.ack().await.unwrap();
                report.send(run).await.unwrap();
            }
        }));
    }
    drop(report);

    let published: Vec<_> = (0..COUNT).map(|_| message()).collect();
    let expected: HashSet<RunId> = published.iter().map(|message| message.run).collect();
    futures::stream::iter(published)
        .map(|message| queue.publish(&pool, message))
        .buffer_unordered(100)
        .try_collect::<Vec<()>>()
        .await
        .unwrap();

    let mut received = HashSet::new();
    while received.len() < COUNT {
        let run = soon(reports.recv()).await.expect("consumers go on until the queue is closed");
        assert!(received.insert(run), "{run} came twice");
    }
    depth_becomes(&queue, &pool, 0).await;
    queue.close().await;
    assert_eq!(soon(reports.recv()).await, None, "a message came twice");
    for consumer in consumers {
        consumer.await.unwrap();
    }
    assert_eq!(received, expected);
}

//! What only this backend promises.

use futures::{FutureExt as _, StreamExt as _};
use gantry_domain::id::{DispatchId, RunId};

use super::*;

async fn start() -> (Arc<dyn Queue>, ()) {
    (Arc::new(EmbeddedQueue::new()), ())
}

crate::contract::contract!(embedded: super::start);

fn message() -> RunMessage {
    RunMessage { run: RunId::new(), dispatch: DispatchId::new(), trace: Default::default() }
}

async fn publish(queue: &EmbeddedQueue, count: usize) -> Vec<RunMessage> {
    let messages: Vec<_> = (0..count).map(|_| message()).collect();
    for message in &messages {
        queue.publish(&Pool::default(), message.clone()).await.unwrap();
    }
    messages
}

/// What is there right now.
fn ready(consumer: &mut Box<dyn Consumer>) -> Option<Delivery> {
    consumer.next().now_or_never().flatten()
}

fn lanes(queue: &EmbeddedQueue) -> usize {
    queue.shared.state().lanes.len()
}

#[tokio::test]
async fn what_is_given_back_comes_first_and_in_its_old_order() {
    let queue = EmbeddedQueue::new();
    let published = publish(&queue, 6).await;
    let mut consumer = queue.consume(&Pool::default()).await.unwrap();
    let mut held: Vec<Delivery> = (0..4).map(|_| ready(&mut consumer).unwrap()).collect();
    held.swap(0, 2);
    drop(held);
    let mut other = queue.consume(&Pool::default()).await.unwrap();
    let held: Vec<Delivery> = (0..3).map(|_| ready(&mut consumer).unwrap()).collect();
    drop(consumer);
    for expected in &published {
        let delivery = ready(&mut other).unwrap();
        assert_eq!(delivery.message, *expected);
        delivery.ack().await.unwrap();
    }
    drop(held);
    assert!(ready(&mut other).is_none(), "a message was given back twice");
}

#[tokio::test]
async fn a_late_acknowledgement_hits_no_other_delivery() {
    let queue = EmbeddedQueue::new();
    let pool = Pool::default();
    publish(&queue, 1).await;
    let mut lost = queue.consume(&pool).await.unwrap();
    let (late_ack, late_drop) = (ready(&mut lost).unwrap(), {
        publish(&queue, 1).await;
        ready(&mut lost).unwrap()
    });
    drop(lost);
    let mut other = queue.consume(&pool).await.unwrap();
    for _ in 0..2 {
        ready(&mut other).unwrap().ack().await.unwrap();
    }
    drop(other);
    assert_eq!(lanes(&queue), 0, "the pool starts anew");

    let published = publish(&queue, 2).await;
    let mut other = queue.consume(&pool).await.unwrap();
    let (first, second) = (ready(&mut other).unwrap(), ready(&mut other).unwrap());
    assert!(late_ack.ack().await.is_err());
    drop(late_drop);
    assert_eq!(queue.depth(&pool).await, Ok(2));
    assert!(ready(&mut other).is_none());
    assert_eq!((&first.message, &second.message), (&published[0], &published[1]));
    first.ack().await.unwrap();
    second.ack().await.unwrap();
}

#[tokio::test]
async fn a_pool_that_nobody_uses_is_forgotten() {
    let queue = EmbeddedQueue::new();
    for number in 0..100 {
        let pool: Pool = format!("pool-{number}").parse().unwrap();
        assert_eq!(queue.depth(&pool).await, Ok(0));
        queue.publish(&pool, message()).await.unwrap();
        let mut consumer = queue.consume(&pool).await.unwrap();
        let delivery = ready(&mut consumer).unwrap();
        if number % 2 == 0 {
            drop(consumer);
            let mut consumer = queue.consume(&pool).await.unwrap();
            ready(&mut consumer).unwrap().ack().await.unwrap();
        } else {
            delivery.ack().await.unwrap();
        }
    }
    assert_eq!(lanes(&queue), 0);
}

#[tokio::test]
async fn a_full_pool_refuses_until_something_is_acknowledged() {
    let queue = EmbeddedQueue::with_capacity(2);
    let (pool, gpu) = (Pool::default(), "gpu".parse::<Pool>().unwrap());
    publish(&queue, 2).await;
    let mut consumer = queue.consume(&pool).await.unwrap();
    let held = ready(&mut consumer).unwrap();
    assert_eq!(queue.publish(&pool, message()).await, Err(QueueError::Full(pool.clone())));
    queue.publish(&gpu, message()).await.unwrap();
    held.ack().await.unwrap();
    queue.publish(&pool, message()).await.unwrap();
}

#[tokio::test]
async fn a_wake_up_of_a_consumer_that_gave_up_goes_to_another() {
    let queue = EmbeddedQueue::new();
    let pool = Pool::default();
    let mut first = queue.consume(&pool).await.unwrap();
    let mut second = queue.consume(&pool).await.unwrap();
    let mut gives_up = Box::pin(first.next());
    let mut waits = Box::pin(second.next());
    assert!(futures::poll!(&mut gives_up).is_pending());
    assert!(futures::poll!(&mut waits).is_pending());
    let published = publish(&queue, 1).await;
    drop(gives_up);
    let delivery = waits.now_or_never().flatten().unwrap();
    assert_eq!(delivery.message, published[0]);
}

#[tokio::test]
async fn a_slow_control_subscriber_misses_the_oldest_and_goes_on() {
    let queue = EmbeddedQueue::new();
    let mut control = queue.control().await.unwrap();
    let run = RunId::new();
    let sent = 2 * CONTROL_BACKLOG as u32;
    for attempt in 1..=sent {
        queue.broadcast(ControlMessage::Cancel { run, attempt }).await.unwrap();
    }
    let first_heard = sent - CONTROL_BACKLOG as u32 + 1;
    for attempt in first_heard..=sent {
        assert_eq!(control.next().await, Some(ControlMessage::Cancel { run, attempt }));
    }
    assert!(control.next().now_or_never().is_none());
}

//! The end of a queue, at shutdown.

use std::sync::Arc;

use futures::StreamExt as _;
use gantry_domain::id::RunId;
use gantry_domain::spec::Pool;

use super::{message, next, publish, soon};
use crate::{ControlMessage, Queue, QueueError};

pub(crate) async fn closing_ends_consumers_and_streams(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    let mut consumer = queue.consume(&pool).await.unwrap();
    let mut control = queue.control().await.unwrap();
    let waiting = tokio::spawn(async move {
        let ended = consumer.next().await.is_none();
        ended && consumer.next().await.is_none()
    });
    let listening = tokio::spawn(async move { control.next().await });
    tokio::task::yield_now().await;
    queue.close().await;
    assert!(soon(waiting).await.unwrap());
    assert_eq!(soon(listening).await.unwrap(), None);
    queue.close().await;
}

pub(crate) async fn what_is_in_hand_can_be_acknowledged_after_closing(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    let mut consumer = queue.consume(&pool).await.unwrap();
    publish(&queue, &pool, 2).await;
    let held = next(&mut consumer).await;
    queue.close().await;
    held.ack().await.unwrap();
    assert!(soon(consumer.next()).await.is_none(), "a closed queue gives no more");
}

pub(crate) async fn a_closed_queue_takes_nothing(queue: Arc<dyn Queue>) {
    let pool = Pool::default();
    queue.close().await;
    assert!(matches!(queue.publish(&pool, message()).await, Err(QueueError::Unavailable(_))));
    let cancel = ControlMessage::Cancel { run: RunId::new(), attempt: 1 };
    assert!(matches!(queue.broadcast(cancel).await, Err(QueueError::Unavailable(_))));
    assert!(queue.consume(&pool).await.is_err());
    assert!(queue.control().await.is_err());
}

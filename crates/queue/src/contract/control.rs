//! Control messages reach everyone who listens.

use std::sync::Arc;

use futures::StreamExt as _;
use gantry_domain::id::RunId;

use super::soon;
use crate::{ControlMessage, Queue};

fn cancel(attempt: u32) -> ControlMessage {
    ControlMessage::Cancel { run: RunId::new(), attempt }
}

pub(crate) async fn every_subscriber_hears_a_control_message(queue: Arc<dyn Queue>) {
    let mut subscribers = Vec::new();
    for _ in 0..3 {
        subscribers.push(queue.control().await.unwrap());
    }
    let sent = [cancel(1), cancel(2)];
    for message in &sent {
        queue.broadcast(message.clone()).await.unwrap();
    }
    for subscriber in &mut subscribers {
        for message in &sent {
            assert_eq!(soon(subscriber.next()).await.as_ref(), Some(message));
        }
    }
}

pub(crate) async fn a_subscriber_hears_only_what_comes_later(queue: Arc<dyn Queue>) {
    let mut early = queue.control().await.unwrap();
    let (first, second) = (cancel(1), cancel(2));
    queue.broadcast(first.clone()).await.unwrap();
    assert_eq!(soon(early.next()).await, Some(first));
    let mut late = queue.control().await.unwrap();
    queue.broadcast(second.clone()).await.unwrap();
    assert_eq!(soon(late.next()).await, Some(second));
}

pub(crate) async fn nobody_needs_to_listen(queue: Arc<dyn Queue>) {
    queue.broadcast(cancel(1)).await.unwrap();
    drop(queue.control().await.unwrap());
    queue.broadcast(cancel(2)).await.unwrap();
}

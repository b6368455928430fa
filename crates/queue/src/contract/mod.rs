//! What every backend must do, written once: `contract!(name: start)` runs all of it against what `start` gives, a
//! queue that nobody else uses and whatever must live as long as it does.
//!
//! A consumer here never holds more than one message: backends need not give it a second one.

pub(crate) mod closing;
pub(crate) mod control;
pub(crate) mod run_messages;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gantry_domain::id::{DispatchId, RunId};
use gantry_domain::spec::Pool;

use crate::{Consumer, Delivery, Queue, RunMessage};

macro_rules! contract {
    ($backend:ident: $start:path) => {
        mod $backend {
            $crate::contract::contract!(@tests $start;
                run_messages::each_message_reaches_exactly_one_consumer,
                run_messages::messages_come_whole_and_in_order,
                run_messages::a_dropped_delivery_comes_again,
                run_messages::a_dropped_consumer_gives_back_what_it_holds,
                run_messages::a_waiting_consumer_gets_what_others_give_back,
                run_messages::an_acknowledged_message_is_gone,
                run_messages::a_message_waits_for_a_consumer_to_come,
                run_messages::pools_do_not_mix,
                run_messages::the_depth_counts_waiting_and_unacknowledged_messages,
                run_messages::a_paused_consumer_takes_no_message,
                run_messages::a_cancelled_next_loses_nothing,
                run_messages::ten_thousand_messages_reach_four_consumers_once,
                control::every_subscriber_hears_a_control_message,
                control::a_subscriber_hears_only_what_comes_later,
                control::nobody_needs_to_listen,
                closing::closing_ends_consumers_and_streams,
                closing::what_is_in_hand_can_be_acknowledged_after_closing,
                closing::a_closed_queue_takes_nothing,
            );
        }
    };
    (@tests $start:path; $($subject:ident::$behaviour:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            let (queue, _alive) = $start().await;
            $crate::contract::$subject::$behaviour(queue).await;
        }
    )*};
}
pub(crate) use contract;

/// Long enough for a loaded machine; only a failing test waits it out.
const LIMIT: Duration = Duration::from_secs(30);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it never happened")
}

async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    soon(consumer.next()).await.expect("the queue is open")
}

/// Takes a message off the queue.
async fn take(consumer: &mut Box<dyn Consumer>) -> RunMessage {
    let delivery = next(consumer).await;
    let message = delivery.message.clone();
    delivery.ack().await.unwrap();
    message
}

/// A broker may count late.
async fn depth_becomes(queue: &Arc<dyn Queue>, pool: &Pool, expected: u64) {
    let reached = async {
        while queue.depth(pool).await.unwrap() != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(LIMIT, reached).await.is_err() {
        panic!("the depth stays at {:?}, not {expected}", queue.depth(pool).await);
    }
}

fn message() -> RunMessage {
    let trace = BTreeMap::from([("traceparent".to_owned(), "00-0af7-b7ad-01".to_owned())]);
    RunMessage { run: RunId::new(), dispatch: DispatchId::new(), trace }
}

async fn publish(queue: &Arc<dyn Queue>, pool: &Pool, count: usize) -> Vec<RunMessage> {
    let messages: Vec<_> = (0..count).map(|_| message()).collect();
    for message in &messages {
        queue.publish(pool, message.clone()).await.unwrap();
    }
    messages
}

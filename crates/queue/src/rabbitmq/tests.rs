//! The contract against a real RabbitMQ.

use std::sync::Arc;

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Connection, ConnectionProperties};

use super::topology::Names;
use super::*;
use crate::Queue;

fn uri() -> String {
    std::env::var("GANTRY_TEST_AMQP").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned())
}

/// Removes what a test made at the broker, whether it passed or not.
struct Cleanup(Names);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let names = self.0.clone();
        // A thread of its own: the test's runtime is busy with this very drop.
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let connection = Connection::connect(&uri(), ConnectionProperties::default()).await?;
                let channel = connection.create_channel().await?;
                for pool in ["default", "gpu"] {
                    let queue = names.runs(&pool.parse().unwrap());
                    channel.queue_delete(queue, QueueDeleteOptions::default()).await?;
                }
                channel.queue_delete(names.dead(), QueueDeleteOptions::default()).await?;
                for exchange in [names.dead(), names.control()] {
                    channel.exchange_delete(exchange, ExchangeDeleteOptions::default()).await?;
                }
                connection.close(200, "done".into()).await
            })
        });
        let removed = removing.join();
        if !std::thread::panicking() {
            removed.unwrap().unwrap();
        }
    }
}

async fn start() -> (Arc<dyn Queue>, Cleanup) {
    let mut options = RabbitOptions::new(uri());
    options.prefix = format!("gantry-contract-{:016x}", rand::random::<u64>());
    let names = Names::new(options.prefix.clone());
    let queue = RabbitQueue::connect(options).await.unwrap();
    if let Err(error) = queue.depth(&Pool::default()).await {
        panic!(
            "no RabbitMQ to test with: {error}\nStart one with `scripts/services start rabbitmq`, or name one in \
             GANTRY_TEST_AMQP."
        );
    }
    (Arc::new(queue), Cleanup(names))
}

crate::contract::contract!(rabbitmq: super::start);

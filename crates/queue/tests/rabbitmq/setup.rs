//! A queue with names of its own, and a second pair of eyes at the broker.

use std::future::Future;
use std::time::Duration;

use gantry_domain::id::{DispatchId, RunId};
use gantry_domain::spec::Pool;
use gantry_queue::{Consumer, Delivery, Queue as _, QueueError, RabbitOptions, RabbitQueue, RunMessage};
use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::options::{ConfirmSelectOptions, ExchangeDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

/// Reached only when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn shared_broker() -> String {
    std::env::var("GANTRY_TEST_AMQP").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned())
}

pub fn options(uri: &str) -> RabbitOptions {
    let mut options = RabbitOptions::new(uri);
    options.prefix = format!("gantry-test-{}", RunId::new());
    options
}

pub fn message() -> RunMessage {
    RunMessage { run: RunId::new(), dispatch: DispatchId::new(), trace: Default::default() }
}

/// Shows with a failed test what happened: `RUST_LOG=info` for more than warnings.
pub fn show_logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("gantry_queue=info"));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("never: {what}"),
    }
}

pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    soon("a message", consumer.next()).await.expect("the queue is open")
}

/// Until the broker takes it, as the dispatcher does.
pub async fn publish_stubbornly(queue: &RabbitQueue, message: &RunMessage) {
    eventually("published", async || queue.publish(&Pool::default(), message.clone()).await.is_ok()).await;
}

/// A queue at the shared broker, and a connection of the test's own.
pub struct AtBroker {
    pub queue: RabbitQueue,
    pub channel: Channel,
    connection: Connection,
    prefix: String,
    pools: Vec<Pool>,
}

impl AtBroker {
    pub async fn start() -> Self {
        let connection = match Connection::connect(&shared_broker(), ConnectionProperties::default()).await {
            Ok(connection) => connection,
            Err(error) => panic!(
                "no RabbitMQ to test with: {error}\nStart one with `scripts/services start rabbitmq`, or name one in \
                 GANTRY_TEST_AMQP."
            ),
        };
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = options(&shared_broker());
        let prefix = options.prefix.clone();
        let queue = RabbitQueue::connect(options).await.unwrap();
        Self { queue, channel, connection, prefix, pools: vec![Pool::default(), "gpu".parse().unwrap()] }
    }

    pub fn runs(&self, pool: &Pool) -> String {
        format!("{}.runs.{pool}", self.prefix)
    }

    pub fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    pub async fn delete_runs(&self, pool: &Pool) {
        self.channel.queue_delete(self.runs(pool).into(), QueueDeleteOptions::default()).await.unwrap();
    }

    /// Messages ready in a queue that must be there.
    pub async fn ready(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions::durable().passive();
        let declared = self.channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
        declared.unwrap().message_count()
    }

    /// Puts these bytes into a pool's queue.
    pub async fn inject(&self, pool: &Pool, body: &[u8]) {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let queue = self.runs(pool);
        let confirmed = self.channel.basic_publish("".into(), queue.into(), options, body, properties);
        assert!(confirmed.await.unwrap().await.unwrap().is_ack());
    }

    /// Takes the oldest message that was set aside: its body, why it was, and where it came from.
    pub async fn take_dead(&self) -> (Vec<u8>, String, String) {
        let get = BasicGetOptions { no_ack: true };
        let found = soon("a message set aside", async {
            loop {
                match self.channel.basic_get(self.dead().into(), get).await.unwrap() {
                    Some(found) => break found.delivery,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        })
        .await;
        let headers = found.properties.headers().clone().unwrap();
        let text = |name: &str| match headers.inner().get(name) {
            Some(AMQPValue::LongString(value)) => String::from_utf8(value.as_bytes().to_vec()).unwrap(),
            other => panic!("{name} is {other:?}"),
        };
        (found.data, text("x-first-death-reason"), text("x-first-death-queue"))
    }

    /// Removes what the test made.
    pub async fn end(self) {
        self.queue.close().await;
        drop(self.queue);
        for pool in &self.pools {
            let queue = format!("{}.runs.{pool}", self.prefix);
            self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        }
        let dead = format!("{}.dead", self.prefix);
        self.channel.queue_delete(dead.clone().into(), QueueDeleteOptions::default()).await.unwrap();
        for exchange in [dead, format!("{}.control", self.prefix)] {
            self.channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
        }
        self.connection.close(200, "done".into()).await.unwrap();
    }
}

pub fn is_unavailable<T>(result: &Result<T, QueueError>) -> bool {
    matches!(result, Err(QueueError::Unavailable(_)))
}

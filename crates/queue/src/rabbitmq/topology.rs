//! What exists at the broker, and how it is declared: every name and every argument is here, because a queue that was
//! once declared with other arguments is refused.

use std::time::Duration;

use gantry_domain::spec::Pool;
use lapin::options::{
    BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, Connection, Consumer, ErrorKind, ExchangeKind};

/// A message that came back this often is set aside. What counts is every time it was given back or its consumer was
/// lost; the broker delivers it once more than this. Far more than a bad hour brings: a run whose message was set aside
/// is published again only a minute later.
pub(super) const DELIVERY_LIMIT: i32 = 20;
/// Messages of one pool; the dispatcher keeps it far below.
const LONGEST_QUEUE: i32 = 100_000;
/// Messages set aside are kept to be looked at, not for ever.
const LONGEST_DEAD: i32 = 10_000;
const KEEP_DEAD: Duration = Duration::from_secs(7 * 24 * 3600);
/// A cancel that is older than this went with a heartbeat long ago.
const KEEP_CONTROL: Duration = Duration::from_secs(30);
const LONGEST_CONTROL: i32 = 1000;
/// How many control messages a subscriber is sent ahead of reading them.
const CONTROL_AHEAD: u16 = 100;

/// Names at the broker. The prefix sets installations apart that share a virtual host.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// Run messages of a pool, published through the default exchange.
    pub(super) fn runs(&self, pool: &Pool) -> ShortString {
        format!("{}.runs.{pool}", self.prefix).into()
    }

    /// Exchange and queue of messages that were set aside.
    pub(super) fn dead(&self) -> ShortString {
        format!("{}.dead", self.prefix).into()
    }

    /// The exchange that fans control messages out.
    pub(super) fn control(&self) -> ShortString {
        format!("{}.control", self.prefix).into()
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

fn millis(duration: Duration) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

fn table(entries: impl IntoIterator<Item = (&'static str, AMQPValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

/// `at-least-once` needs `reject-publish`. A broker that knows neither ignores them.
fn run_queue(names: &Names) -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongInt(DELIVERY_LIMIT)),
        ("x-max-length", AMQPValue::LongInt(LONGEST_QUEUE)),
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-exchange", text(names.dead().as_str())),
        ("x-dead-letter-strategy", text("at-least-once")),
    ])
}

fn dead_queue() -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-max-length", AMQPValue::LongInt(LONGEST_DEAD)),
        ("x-message-ttl", millis(KEEP_DEAD)),
    ])
}

/// Where messages go that are set aside; how many are there.
pub(super) async fn declare_dead(channel: &Channel, names: &Names) -> lapin::Result<u64> {
    let dead = names.dead();
    let exchange = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(dead.clone(), ExchangeKind::Fanout, exchange, FieldTable::default()).await?;
    let declared = channel.queue_declare(dead.clone(), QueueDeclareOptions::durable(), dead_queue()).await?;
    let all = ShortString::from("");
    channel.queue_bind(dead.clone(), dead, all, QueueBindOptions::default(), FieldTable::default()).await?;
    Ok(u64::from(declared.message_count()))
}

/// Messages that are ready in a pool's queue, which is made where it is missing.
pub(super) async fn count_runs(channel: &Channel, names: &Names, pool: &Pool) -> lapin::Result<u64> {
    let queue = names.runs(pool);
    let declared = channel.queue_declare(queue, QueueDeclareOptions::durable(), run_queue(names)).await?;
    Ok(u64::from(declared.message_count()))
}

/// Messages that are ready in a queue that exists, with arguments of whoever's choice.
pub(super) async fn count_foreign(channel: &Channel, queue: ShortString) -> lapin::Result<u64> {
    let options = QueueDeclareOptions::durable().passive();
    let declared = channel.queue_declare(queue, options, FieldTable::default()).await?;
    Ok(u64::from(declared.message_count()))
}

/// Whether something exists already and differs from what was declared.
pub(super) fn differs(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED))
}

/// A channel whose consumers get one message at a time.
pub(super) async fn open_for_runs(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    // Per consumer: `global` on a quorum queue kills the connection.
    channel.basic_qos(1, BasicQosOptions { global: false }).await?;
    Ok(channel)
}

pub(super) async fn consume_runs(channel: &Channel, names: &Names, pool: &Pool) -> lapin::Result<Consumer> {
    let (queue, tag) = (names.runs(pool), ShortString::from(""));
    channel.basic_consume(queue, tag, BasicConsumeOptions::default(), FieldTable::default()).await
}

pub(super) async fn declare_control(channel: &Channel, names: &Names) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(names.control(), ExchangeKind::Fanout, options, FieldTable::default()).await
}

/// A queue of this subscriber alone, gone with it; too slow a reader loses the oldest.
pub(super) async fn subscribe_control(channel: &Channel, names: &Names) -> lapin::Result<Consumer> {
    declare_control(channel, names).await?;
    channel.basic_qos(CONTROL_AHEAD, BasicQosOptions::default()).await?;
    let arguments = table([
        ("x-message-ttl", millis(KEEP_CONTROL)),
        ("x-max-length", AMQPValue::LongInt(LONGEST_CONTROL)),
        ("x-overflow", text("drop-head")),
    ]);
    let own = QueueDeclareOptions::exclusive().auto_delete();
    let queue = channel.queue_declare(ShortString::from(""), own, arguments).await?.name().clone();
    let all = ShortString::from("");
    channel
        .queue_bind(
            queue.clone(),
            names.control(),
            all.clone(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let options = BasicConsumeOptions { exclusive: true, ..Default::default() };
    channel.basic_consume(queue, all, options, FieldTable::default()).await
}

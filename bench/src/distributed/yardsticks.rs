//! The floor of distributed mode: what each server costs by itself, asked by its plain driver.

use std::time::Instant;

use futures::future::try_join_all;
use gantry_tests::cluster::Addresses;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use mongodb::bson::{Document, doc};
use mongodb::options::{CollectionOptions, WriteConcern};
use mongodb::{Client, Collection};

use crate::accept::QUIET;
use crate::samples::{Series, millis, quantile};

/// Tasks that write side by side for the rate.
const WRITERS: usize = 32;
/// Documents each of them writes; each is inserted once and changed three times, as a run is.
const EACH: u64 = 40;
const CHANGES: i32 = 3;
/// Messages for the rate of confirmed publishing.
const MESSAGES: usize = 4000;
const IN_FLIGHT: usize = 100;

pub async fn measure(addresses: &Addresses, series: &mut Series) -> anyhow::Result<()> {
    store(addresses, series).await?;
    broker(addresses, series).await?;
    redis_round_trip(addresses, series).await
}

/// About as large as a stored run.
fn document(id: i64) -> Document {
    doc! { "_id": id, "state": 0, "payload": "x".repeat(700) }
}

async fn store(addresses: &Addresses, series: &mut Series) -> anyhow::Result<()> {
    let client = Client::with_uri_str(&addresses.mongo).await?;
    let database = client.database(&format!("gantry_bench_{:x}", rand::random::<u32>()));
    let majority = CollectionOptions::builder().write_concern(WriteConcern::majority()).build();
    let collection: Collection<Document> = database.collection_with_options("writes", majority);
    let measured = async {
        collection.insert_one(document(-1)).await?;
        let mut samples = Vec::new();
        for i in 0..200 {
            let begun = Instant::now();
            collection.insert_one(document(i)).await?;
            samples.push(millis(begun.elapsed()));
        }
        series.add("store write ms", quantile(&samples, 0.5).unwrap_or(f64::NAN));
        after_quiet(&collection, series).await?;
        let begun = Instant::now();
        try_join_all((0..WRITERS as i64).map(|writer| live(&collection, 1000 + writer * EACH as i64)))
            .await?;
        let writes = WRITERS as f64 * EACH as f64 * f64::from(1 + CHANGES);
        series.add("store writes per s, 32 tasks", writes / begun.elapsed().as_secs_f64());
        anyhow::Ok(())
    }
    .await;
    database.drop().await?;
    let about = client.database("admin").run_command(doc! { "buildInfo": 1 }).await?;
    let text = |about: &Document, field: &str| about.get_str(field).unwrap_or("unknown").to_owned();
    let server = match about.get_document("ferretdb") {
        Ok(ferret) => format!("FerretDB {} on PostgreSQL, synced at commit", text(ferret, "version")),
        Err(_) => format!("MongoDB {}, majority writes", text(&about, "version")),
    };
    series.note("Store", server);
    measured
}

/// What a run writes, one after the other, after the same quiet as the runs of an idle system it is compared with: servers that
/// were idle answer more slowly than those at work.
async fn after_quiet(collection: &Collection<Document>, series: &mut Series) -> anyhow::Result<()> {
    let (mut first, mut each) = (Vec::new(), Vec::new());
    for id in 500..540 {
        tokio::time::sleep(QUIET).await;
        let begun = Instant::now();
        collection.insert_one(document(id)).await?;
        first.push(millis(begun.elapsed()));
        change(collection, id).await?;
        each.push(millis(begun.elapsed()) / f64::from(1 + CHANGES));
    }
    series.add("store write after a pause ms", quantile(&first, 0.5).unwrap_or(f64::NAN));
    series.add("each of a run's store writes after a pause ms", quantile(&each, 0.5).unwrap_or(f64::NAN));
    Ok(())
}

/// Inserts documents one after the other and changes each as a run is changed: by compare-and-set.
async fn live(collection: &Collection<Document>, from: i64) -> mongodb::error::Result<()> {
    for id in from..from + EACH as i64 {
        collection.insert_one(document(id)).await?;
        change(collection, id).await?;
    }
    Ok(())
}

async fn change(collection: &Collection<Document>, id: i64) -> mongodb::error::Result<()> {
    for state in 0..CHANGES {
        let expected = doc! { "_id": id, "state": state };
        collection.update_one(expected, doc! { "$set": { "state": state + 1 } }).await?;
    }
    Ok(())
}

async fn broker(addresses: &Addresses, series: &mut Series) -> anyhow::Result<()> {
    let connection = Connection::connect(&addresses.amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let queue = ShortString::from(format!("gantry-bench-{:x}", rand::random::<u32>()));
    let mut arguments = FieldTable::default();
    arguments.insert(ShortString::from("x-queue-type"), AMQPValue::LongString(LongString::from("quorum")));
    channel.queue_declare(queue.clone(), QueueDeclareOptions::durable(), arguments).await?;
    let measured = async {
        publish(&channel, &queue).await?;
        let mut samples = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            publish(&channel, &queue).await?;
            samples.push(millis(begun.elapsed()));
        }
        series.add("confirmed publish ms", quantile(&samples, 0.5).unwrap_or(f64::NAN));
        let begun = Instant::now();
        try_join_all((0..IN_FLIGHT).map(|_| async {
            for _ in 0..MESSAGES / IN_FLIGHT {
                publish(&channel, &queue).await?;
            }
            anyhow::Ok(())
        }))
        .await?;
        series
            .add("confirmed publishes per s, 100 in flight", MESSAGES as f64 / begun.elapsed().as_secs_f64());
        anyhow::Ok(())
    }
    .await;
    channel.queue_delete(queue, QueueDeleteOptions::default()).await?;
    measured
}

async fn publish(channel: &Channel, queue: &ShortString) -> anyhow::Result<()> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let sent = channel.basic_publish(ShortString::from(""), queue.clone(), options, &[b'x'; 200], persistent);
    let confirmation = sent.await?.await?;
    anyhow::ensure!(confirmation.is_ack(), "the broker refused a message");
    Ok(())
}

async fn redis_round_trip(addresses: &Addresses, series: &mut Series) -> anyhow::Result<()> {
    let Some(address) = &addresses.redis else { return Ok(()) };
    let client = redis::Client::open(address.as_str())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut samples = Vec::new();
    for _ in 0..1000 {
        let begun = Instant::now();
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        samples.push(millis(begun.elapsed()));
    }
    series.add("redis round trip ms", quantile(&samples, 0.5).unwrap_or(f64::NAN));
    let about: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    let version = about.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("unknown");
    series.note("Redis", version.to_owned());
    Ok(())
}

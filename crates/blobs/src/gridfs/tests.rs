//! What only this backend promises, against a server that speaks MongoDB's protocol.

use futures::FutureExt as _;
use mongodb::bson::Document;
use mongodb::{Collection, Database};

use super::files::CHUNK;
use super::layout::INDEXES;
use super::writer::INLINE;
use mongodb::bson::doc;

use super::*;
use crate::BlobKind;

/// Long enough for a loaded machine; only a failing test waits it out.
const LIMIT: Duration = Duration::from_secs(60);

/// A database of a test's own, removed with it.
struct Own(Database);

impl Drop for Own {
    fn drop(&mut self) {
        let database = self.0.clone();
        // The test's runtime may be ending: the removal has one of its own.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let again = options(database.name()).open().await.unwrap();
                let _ = tokio::time::timeout(Duration::from_secs(20), again.drop()).await;
            });
        });
        let _ = removal.join();
    }
}

fn options(database: &str) -> GridFsOptions {
    let uri = std::env::var("GANTRY_TEST_MONGO").unwrap_or_else(|_| "mongodb://127.0.0.1:27017".to_owned());
    let (base, query) = uri.split_once('?').map_or((uri.as_str(), None), |(base, query)| (base, Some(query)));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let scheme_end = base.find("://").map_or(0, |at| at + 3);
    let host_end = base[scheme_end..].find('/').map_or(base.len(), |at| scheme_end + at);
    GridFsOptions {
        server_selection: Duration::from_secs(10),
        ..GridFsOptions::new(format!("{}/{database}{query}", &base[..host_end]))
    }
}

async fn start() -> (GridFsBlobs, Own) {
    let name = format!("gantry_blobs_{:x}", rand::random::<u64>());
    let blobs = GridFsBlobs::connect(&options(&name))
        .await
        .expect("no MongoDB answers: `scripts/services start mongo`, or name one in GANTRY_TEST_MONGO");
    let database = blobs.layout.database().clone();
    (blobs, Own(database))
}

crate::contract::contract!(gridfs: super::start);

fn key() -> BlobKey {
    BlobKey { organization: OrganizationId::new(), run: RunId::new(), attempt: 1, kind: BlobKind::Log }
}

fn bytes(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect()
}

async fn write(blobs: &GridFsBlobs, key: &BlobKey, length: usize) {
    let mut writer = blobs.write(key).await.unwrap();
    writer.write(bytes(length)).await.unwrap();
    writer.finish().await.unwrap();
}

async fn count(collection: &Collection<Document>) -> u64 {
    collection.count_documents(doc! {}).await.unwrap()
}

async fn counts(blobs: &GridFsBlobs) -> [u64; 4] {
    let layout = &blobs.layout;
    [
        count(&layout.index).await,
        count(&layout.files).await,
        count(&layout.chunks).await,
        count(&layout.garbage).await,
    ]
}

/// Waits until the collections hold this much.
async fn until_counts(blobs: &GridFsBlobs, expected: [u64; 4]) {
    let reached = async {
        while counts(blobs).await != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(LIMIT, reached).await.is_err() {
        assert_eq!(counts(blobs).await, expected);
    }
}

#[tokio::test]
async fn a_password_is_not_printed() {
    let options = GridFsOptions::new("mongodb://user:sesame@localhost:x/blobs");
    assert!(!format!("{options:?}").contains("sesame"));
    let error = GridFsBlobs::connect(&options).await.err().unwrap();
    assert!(matches!(&error, BlobError::Unavailable(text) if !text.contains("sesame")), "{error}");
}

#[tokio::test]
async fn a_small_blob_is_one_document_and_a_large_one_is_a_file() {
    let (blobs, _own) = start().await;
    write(&blobs, &key(), INLINE).await;
    assert_eq!(counts(&blobs).await, [1, 0, 0, 0]);
    write(&blobs, &key(), INLINE + 1).await;
    assert_eq!(counts(&blobs).await, [2, 1, 1, 0]);
    write(&blobs, &key(), CHUNK * 5 + 1).await;
    assert_eq!(counts(&blobs).await, [3, 2, 7, 0]);
}

#[tokio::test]
async fn what_is_replaced_or_deleted_leaves_nothing() {
    let (blobs, _own) = start().await;
    let key = key();
    for length in [CHUNK * 9, 10, CHUNK * 2, CHUNK] {
        write(&blobs, &key, length).await;
    }
    assert_eq!(counts(&blobs).await, [1, 1, 1, 0]);
    blobs.delete_run(key.organization, key.run).await.unwrap();
    assert_eq!(counts(&blobs).await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn a_dropped_writer_has_its_chunks_removed() {
    let (blobs, _own) = start().await;
    let mut writer = blobs.write(&key()).await.unwrap();
    writer.write(bytes(CHUNK * 8)).await.unwrap();
    assert_eq!(counts(&blobs).await, [0, 0, 8, 1]);
    drop(writer);
    until_counts(&blobs, [0, 0, 0, 0]).await;
}

/// A cancelled call may still reach the server after the writer's file was removed.
#[tokio::test]
async fn a_writer_dropped_in_the_middle_of_a_call_is_looked_at_twice() {
    let (blobs, _own) = start().await;
    let mut writer = blobs.write(&key()).await.unwrap();
    writer.write(bytes(CHUNK * 4)).await.unwrap();
    assert!(writer.write(bytes(CHUNK * 4)).now_or_never().is_none());
    drop(writer);
    until_counts(&blobs, [0, 0, 0, 1]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(blobs.layout.sweep(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(counts(&blobs).await, [0, 0, 0, 0]);
}

/// A process that dies leaves what it wrote down; its replacement finds it.
#[tokio::test]
async fn what_a_crash_left_is_swept_up_and_what_is_in_use_stays() {
    let (blobs, _own) = start().await;
    let (living, cut_off) = (key(), key());
    write(&blobs, &living, CHUNK * 2).await;
    let layout = &blobs.layout;
    // Died while it wrote.
    let lost = mongodb::bson::oid::ObjectId::new();
    layout.write_down(&cut_off.to_string(), lost).await.unwrap();
    layout.append(lost, 0, &bytes(CHUNK * 3)).await.unwrap();
    // Died after it had replaced a blob, before it removed the old file.
    let old = mongodb::bson::oid::ObjectId::new();
    layout.write_down(&living.to_string(), old).await.unwrap();
    layout.append(old, 0, &bytes(CHUNK)).await.unwrap();
    layout.describe(&living, old, CHUNK as u64).await.unwrap();
    // Died between the index and striking out.
    let in_use = layout.version(&living.to_string()).await.unwrap().unwrap();
    layout.write_down(&living.to_string(), in_use).await.unwrap();
    assert_eq!(counts(&blobs).await, [1, 2, 6, 3]);
    assert_eq!(layout.sweep(Duration::from_secs(3600)).await.unwrap(), 0, "writers may be at work");
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(layout.sweep(Duration::ZERO).await.unwrap(), 3);
    assert_eq!(counts(&blobs).await, [1, 1, 2, 0]);
    assert_eq!(blobs.read(&living, 0..2 * CHUNK as u64).await.unwrap(), bytes(CHUNK * 2));
}

#[tokio::test]
async fn a_missing_chunk_is_an_error_and_not_a_short_blob() {
    let (blobs, _own) = start().await;
    let key = key();
    write(&blobs, &key, CHUNK * 3).await;
    blobs.layout.chunks.delete_one(doc! { "n": 1_i64 }).await.unwrap();
    let whole = 0..CHUNK as u64 * 3;
    assert!(matches!(blobs.read(&key, whole.clone()).await, Err(BlobError::Unavailable(_))));
    let streamed: Result<Vec<_>, _> = blobs.stream(&key, whole).await.unwrap().try_collect().await;
    assert!(matches!(streamed, Err(BlobError::Unavailable(_))));
    // What is there can be read, which also shows that a range fetches its own chunks only.
    assert_eq!(blobs.read(&key, 10..20).await.unwrap(), bytes(20).slice(10..));
}

#[tokio::test]
async fn every_query_has_its_index() {
    let (blobs, _own) = start().await;
    for _ in 0..20 {
        write(&blobs, &key(), CHUNK).await;
        blobs.layout.write_down("key", mongodb::bson::oid::ObjectId::new()).await.unwrap();
    }
    let database = blobs.layout.database();
    for (collection, name, _) in INDEXES {
        let names = database.collection::<Document>(collection).list_index_names().await.unwrap();
        assert!(names.iter().any(|found| found == name), "{collection}: {names:?}");
    }
    let file = mongodb::bson::oid::ObjectId::new();
    for (collection, filter, index) in [
        ("blobs.index", doc! { "organization": "o", "run": "r" }, "by_run"),
        ("blobs.chunks", doc! { "files_id": file, "n": { "$gte": 0_i64, "$lt": 4_i64 } }, "files_id_1_n_1"),
        ("blobs.chunks", doc! { "files_id": file }, "files_id_1_n_1"),
        ("blobs.garbage", doc! { "at": { "$lt": mongodb::bson::DateTime::now() } }, "by_age"),
    ] {
        let query = doc! { "explain": { "find": collection, "filter": filter }, "verbosity": "queryPlanner" };
        let plan = database.run_command(query).await.unwrap().to_string();
        assert!(plan.contains(index) && !plan.contains("COLLSCAN"), "{collection}: {plan}");
    }
}

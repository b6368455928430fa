//! What the store does with the database it finds, and beside other producers on the same one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod mongo_server;

use std::collections::BTreeSet;

use gantry_domain::id::OrganizationId;
use gantry_store::StoreError;
use gantry_store::contract::fixtures::{accepted, find, ids, queued};
use gantry_store::mongo::connect;
use mongo_server::TestDatabase;
use mongodb::bson::{Document, doc};

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let database = TestDatabase::new();
    database.connect().await.close().await;
    let settings = database.raw().await.collection::<Document>("settings");
    settings.update_one(doc! { "_id": "schema" }, doc! { "$set": { "version": 99 } }).await.unwrap();
    let error = connect(database.options()).await.err().expect("it must not be used");
    assert_eq!(error, StoreError::TooNew { found: 99, known: 2 });
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let database = TestDatabase::new();
    let runs = database.raw().await.collection::<Document>("runs");
    runs.insert_one(doc! { "marathon": true }).await.unwrap();
    let error = connect(database.options()).await.err().expect("it must not be used");
    assert!(
        matches!(error, StoreError::Corrupt(_)) && error.to_string().contains("another program"),
        "{error}"
    );
}

#[tokio::test]
async fn a_start_that_broke_off_is_finished_by_the_next() {
    let database = TestDatabase::new();
    let raw = database.raw().await;
    raw.collection::<Document>("settings").insert_one(doc! { "_id": "schema", "version": 0 }).await.unwrap();
    raw.collection::<Document>("runs")
        .create_index(
            mongodb::IndexModel::builder()
                .keys(doc! { "organization": 1, "_id": 1 })
                .options(
                    mongodb::options::IndexOptions::builder().name("runs_by_organization".to_owned()).build(),
                )
                .build(),
        )
        .await
        .unwrap();
    let mongo = database.connect().await;
    let schema =
        raw.collection::<Document>("settings").find_one(doc! { "_id": "schema" }).await.unwrap().unwrap();
    assert_eq!(schema.get_i32("version").ok(), Some(2));
    assert!(raw.collection::<Document>("runs").list_index_names().await.unwrap().len() > 10);
    mongo.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_that_start_together_share_one_database() {
    let database = TestDatabase::new();
    let started = futures::future::join_all((0..4).map(|_| database.connect())).await;
    let organization = OrganizationId::new();
    let accepts = (0..200).map(async |i: usize| {
        let stores = started[i % 4].stores();
        accepted(&stores, organization).await
    });
    let runs = futures::future::join_all(accepts).await;
    let numbers: BTreeSet<_> = runs.iter().map(|run| run.number).collect();
    assert_eq!(numbers.len(), 200, "each has its own number");
    // Whoever asks finds all of them, and nobody finds one twice.
    let pool = &runs[0].spec.pool;
    let wanted: BTreeSet<_> = runs.iter().map(|run| run.id).collect();
    for mongo in &started {
        let ready: BTreeSet<_> =
            ids(&mongo.stores().dispatch.ready(pool, 500).await.unwrap()).into_iter().collect();
        assert_eq!(ready, wanted);
    }
    for mongo in &started {
        mongo.close().await;
    }
}

/// As it is after a process stood still between waking the lane and storing its run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_in_a_sleeping_lane_are_found() {
    let database = TestDatabase::new();
    let mongo = database.connect().await;
    let stores = mongo.stores();
    let (one, other) = (OrganizationId::new(), OrganizationId::new());
    let sleeping = accepted(&stores, one).await;
    let awake = accepted(&stores, other).await;
    let lanes = database.raw().await.collection::<Document>("lanes");
    let slept = lanes
        .update_one(
            doc! { "organization": one.to_string() },
            doc! { "$set": { "awake": false, "idle": true } },
        )
        .await
        .unwrap();
    assert_eq!(slept.matched_count, 1);
    let another = database.connect().await;
    let ready: BTreeSet<_> =
        ids(&another.stores().dispatch.ready(&awake.spec.pool, 10).await.unwrap()).into_iter().collect();
    assert_eq!(ready, BTreeSet::from([sleeping.id, awake.id]));
    queued(&another.stores(), &sleeping, gantry_store::contract::fixtures::T0).await;
    assert_eq!(find(&stores, sleeping.id).await.version, 2);
    another.close().await;
    mongo.close().await;
}

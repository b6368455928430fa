//! What the store does with the database it finds, and beside other producers on the same one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod mongo_server;

use std::collections::BTreeSet;

use gantry_domain::id::{KeyId, OrganizationId, UserId};
use gantry_domain::identity::Member;
use gantry_domain::role::Role;
use gantry_store::contract::fixtures::{accepted, at, find, ids, queued};
use gantry_store::mongo::connect;
use gantry_store::{Changed, StoreError};
use mongo_server::TestDatabase;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let database = TestDatabase::new();
    database.connect().await.close().await;
    let settings = database.raw().await.collection::<Document>("settings");
    settings.update_one(doc! { "_id": "schema" }, doc! { "$set": { "version": 99 } }).await.unwrap();
    let error = connect(database.options()).await.err().expect("it must not be used");
    assert_eq!(error, StoreError::TooNew { found: 99, known: 3 });
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
    assert_eq!(schema.get_i32("version").ok(), Some(3));
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

/// A database of version 1, in which the first start broke off before it made the user and the key: users belonged to one
/// organization, and keys to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_from_before_people_had_roles_is_brought_over() {
    let database = TestDatabase::new();
    let raw = database.raw().await;
    let (organization, user, other) = (OrganizationId::new(), UserId::new(), OrganizationId::new());
    let keys = [KeyId::new(), KeyId::new(), KeyId::new()];
    let time = |seconds| DateTime::from_millis(at(seconds).as_millis());
    let hash = |byte: u8| Binary { subtype: BinarySubtype::Generic, bytes: vec![byte; 32] };
    let key = |i: usize, organization: OrganizationId| {
        let revoked = if i == 1 { time(9).into() } else { Bson::Null };
        doc! {
            "_id": keys[i].to_string(), "organization": organization.to_string(), "name": "local",
            "secret_hash": hash(i as u8), "created_at": time(3), "revoked_at": revoked,
        }
    };
    let old = doc! { "_id": organization.to_string(), "name": "default", "created_at": time(1) };
    let begun = doc! {
        "_id": "bootstrap", "done": false, "organization": &old, "key": key(0, organization),
        "user": {
            "_id": user.to_string(), "organization": organization.to_string(), "email": "Admin@localhost",
            "password_hash": "$x", "created_at": time(2),
        },
    };
    let documents = |name: &str| raw.collection::<Document>(name);
    documents("settings").insert_many([doc! { "_id": "schema", "version": 1 }, begun]).await.unwrap();
    documents("organizations").insert_one(old).await.unwrap();
    documents("api_keys").insert_many([key(1, organization), key(2, other)]).await.unwrap();

    // Several replicas start, and later another one.
    let mut started = futures::future::join_all((0..3).map(|_| database.connect())).await;
    started.push(database.connect().await);
    for mongo in started {
        let stores = mongo.stores();
        let first = stores.auth.first_organization().await.unwrap().unwrap();
        assert_eq!((first.id, first.name.as_str(), first.created_at), (organization, "default", at(1)));
        assert_eq!(first.members(), [Member { user, role: Role::Admin, since: at(2) }]);
        assert_eq!(stores.organizations.of_user(user).await.unwrap(), std::slice::from_ref(&first));
        let admin = stores.users.by_email(&"admin@localhost".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((admin.id, admin.password.as_str(), admin.created_at), (user, "$x", at(2)));
        let key = stores.keys.look_up(&[0; 32]).await.unwrap().unwrap();
        assert_eq!((key.user.as_ref(), key.role), (Some(&admin), Some(Role::Admin)));
        assert_eq!((key.credential.id, key.credential.created_at), (keys[0], at(3)));
        assert!(key.credential.permissions(key.user.as_ref(), key.role, at(5)).is_ok());
        let revoked = stores.keys.by_hash(&[1; 32]).await.unwrap().unwrap();
        assert_eq!(revoked.revoked_at, Some(at(9)));
        let nobodys = stores.keys.look_up(&[2; 32]).await.unwrap().unwrap();
        assert_eq!((nobodys.credential.organization, nobodys.user, nobodys.role), (other, None, None));
        // What was brought over changes like anything else.
        assert_eq!(stores.users.update(&admin.rename("Ann".into())).await.unwrap(), Changed::Updated);
        assert_eq!(
            stores.organizations.update(&first.rename("default".into())).await.unwrap(),
            Changed::Updated
        );
        mongo.close().await;
    }
    let settings = documents("settings");
    let done = settings.find_one(doc! { "_id": "bootstrap" }).await.unwrap().unwrap();
    assert!(done.get_bool("done").unwrap() && !done.contains_key("user"), "{done}");
}

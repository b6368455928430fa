//! Every backend keeps the same promises.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests fail by panicking")]

mod mongo_server;

use gantry_store::Stores;
use gantry_store::mongo::MongoStores;
use gantry_store::sqlite::{self, SqliteOptions, SqliteStores};
use mongo_server::TestDatabase;

async fn in_a_file() -> (Stores, (SqliteStores, tempfile::TempDir)) {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = sqlite::open(SqliteOptions::new(directory.path().join("gantry.db"))).unwrap();
    (sqlite.stores(), (sqlite, directory))
}

gantry_store::store_contract!(sqlite_file, in_a_file);

async fn in_mongo() -> (Stores, (MongoStores, TestDatabase)) {
    let database = TestDatabase::new();
    let mongo = database.connect().await;
    (mongo.stores(), (mongo, database))
}

gantry_store::store_contract!(mongo, in_mongo);

//! Every backend keeps the same promises.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests fail by panicking")]

mod mongo_server;

use async_trait::async_trait;
use gantry_domain::id::{ProjectId, RunId, WorkerId};
use gantry_store::Stores;
use gantry_store::contract::set_aside::Tamperer;
use gantry_store::mongo::MongoStores;
use gantry_store::sqlite::{self, SqliteOptions, SqliteStores};
use mongo_server::TestDatabase;
use mongodb::bson::{Document, doc};

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

/// Writes into the file beside the store.
struct InTheFile {
    directory: tempfile::TempDir,
    open: Option<SqliteStores>,
}

impl InTheFile {
    fn write(&self, sql: &str, id: u128, record: &str) {
        let file = rusqlite::Connection::open(self.directory.path().join("gantry.db")).unwrap();
        let written = file.execute(sql, rusqlite::params![id.to_be_bytes(), record.as_bytes()]).unwrap();
        assert_eq!(written, 1);
    }
}

#[async_trait]
impl Tamperer for InTheFile {
    async fn run_record(&self, id: RunId) -> String {
        let file = rusqlite::Connection::open(self.directory.path().join("gantry.db")).unwrap();
        let id = id.as_u128().to_be_bytes();
        let record: Vec<u8> =
            file.query_row("SELECT record FROM runs WHERE id=?1", [id], |row| row.get(0)).unwrap();
        String::from_utf8(record).unwrap()
    }

    async fn write_run_record(&self, id: RunId, record: &str) {
        self.write("UPDATE runs SET record=?2 WHERE id=?1", id.as_u128(), record);
    }

    async fn write_worker_record(&self, id: WorkerId, record: &str) {
        self.write("UPDATE workers SET record=?2 WHERE id=?1", id.as_u128(), record);
    }

    async fn write_project_record(&self, id: ProjectId, record: &str) {
        self.write("UPDATE projects SET record=?2 WHERE id=?1", id.as_u128(), record);
    }

    async fn reopen(&mut self) -> Stores {
        if let Some(open) = self.open.take() {
            open.close().await;
        }
        let sqlite = sqlite::open(SqliteOptions::new(self.directory.path().join("gantry.db"))).unwrap();
        self.open.insert(sqlite).stores()
    }
}

async fn tampering_with_a_file() -> (Stores, InTheFile) {
    let mut tamperer = InTheFile { directory: tempfile::tempdir().unwrap(), open: None };
    (tamperer.reopen().await, tamperer)
}

gantry_store::set_aside_contract!(sqlite_file_set_aside, tampering_with_a_file);

/// Writes into the database beside the store.
struct InTheDatabase {
    open: Option<MongoStores>,
    raw: mongodb::Database,
    database: TestDatabase,
}

impl InTheDatabase {
    async fn write(&self, collection: &str, id: String, record: &str) {
        let documents = self.raw.collection::<Document>(collection);
        let written =
            documents.update_one(doc! { "_id": id }, doc! { "$set": { "record": record } }).await.unwrap();
        assert_eq!(written.matched_count, 1);
    }
}

#[async_trait]
impl Tamperer for InTheDatabase {
    async fn run_record(&self, id: RunId) -> String {
        let runs = self.raw.collection::<Document>("runs");
        let run = runs.find_one(doc! { "_id": id.to_string() }).await.unwrap().unwrap();
        run.get_str("record").unwrap().to_owned()
    }

    async fn write_run_record(&self, id: RunId, record: &str) {
        self.write("runs", id.to_string(), record).await;
    }

    async fn write_worker_record(&self, id: WorkerId, record: &str) {
        self.write("workers", id.to_string(), record).await;
    }

    async fn write_project_record(&self, id: ProjectId, record: &str) {
        self.write("projects", id.to_string(), record).await;
    }

    async fn reopen(&mut self) -> Stores {
        if let Some(open) = self.open.take() {
            open.close().await;
        }
        self.open.insert(self.database.connect().await).stores()
    }
}

async fn tampering_with_mongo() -> (Stores, InTheDatabase) {
    let database = TestDatabase::new();
    let mut tamperer = InTheDatabase { open: None, raw: database.raw().await, database };
    (tamperer.reopen().await, tamperer)
}

gantry_store::set_aside_contract!(mongo_set_aside, tampering_with_mongo);

//! The server that tests use, and databases that go when the test is over.

use gantry_store::mongo::{MongoOptions, MongoStores, connect};
use mongodb::Client;

/// The test server's address, without a database.
pub fn server() -> String {
    std::env::var("GANTRY_TEST_MONGO").unwrap_or_else(|_| "mongodb://127.0.0.1:27017".to_owned())
}

/// The server's address with this database.
pub fn address(server: &str, database: &str) -> String {
    let (base, query) = server.split_once('?').unwrap_or((server, ""));
    let (scheme, rest) = base.split_once("://").expect("an address has a scheme");
    let hosts = rest.split('/').next().unwrap_or(rest);
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    format!("{scheme}://{hosts}/{database}{query}")
}

/// A database of its own for one test.
pub struct TestDatabase {
    pub name: String,
}

impl TestDatabase {
    pub fn new() -> Self {
        Self { name: format!("gantry_test_{:016x}", rand::random::<u64>()) }
    }

    #[allow(dead_code, reason = "not every test connects this way")]
    pub fn options(&self) -> MongoOptions {
        // All tests share one server, on whatever machine this is.
        let operation = std::time::Duration::from_secs(60);
        MongoOptions { operation, ..MongoOptions::new(address(&server(), &self.name)) }
    }

    #[allow(dead_code, reason = "not every test connects this way")]
    pub async fn connect(&self) -> MongoStores {
        // A server that is shared by many tests at once rolls back one of two that make their indexes at the same moment.
        let mut opened = connect(self.options()).await;
        for _ in 0..5 {
            if !opened.as_ref().is_err_and(|error| error.to_string().contains("deadlock")) {
                break;
            }
            opened = connect(self.options()).await;
        }
        opened.expect(
            "these tests need a server that speaks MongoDB's protocol: `scripts/services start mongo` starts one, \
             GANTRY_TEST_MONGO names another one",
        )
    }

    /// The driver's own view of it.
    #[allow(dead_code, reason = "not every test looks behind the store")]
    pub async fn raw(&self) -> mongodb::Database {
        Client::with_uri_str(server()).await.unwrap().database(&self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let name = self.name.clone();
        // Dropping needs a runtime that is not just ending.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { Client::with_uri_str(server()).await?.database(&name).drop().await })
        });
        if !std::thread::panicking() {
            dropped.join().unwrap().expect("the test's database can be dropped");
        } else {
            let _ = dropped.join();
        }
    }
}

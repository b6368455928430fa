//! The store of a cluster: any server that speaks MongoDB's protocol (MongoDB, Atlas, DocumentDB, FerretDB).
//!
//! Nothing here needs transactions, change streams or retryable writes: every write is guarded, idempotent or carries an
//! operation id, so that one whose answer was lost is tried again or read back. Accepts, changes and questions for single
//! runs that wait at the same time travel in one command.

mod accept;
mod aside;
mod auth;
mod batch;
mod calls;
mod changes;
mod clock;
mod connect;
mod depths;
mod dispatch;
mod document;
mod errors;
mod find;
mod groups;
mod identity;
mod lanes;
mod list;
mod logs;
mod options;
#[cfg(test)]
mod plans;
mod projects;
mod runs;
mod schema;
mod test_results;
mod wakes;
mod workers;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gantry_domain::id::RunId;
use gantry_domain::time::Clock;
use mongodb::bson::{Document, RawDocumentBuf};
use mongodb::{Client, Collection, Database};
use tokio::task::JoinHandle;

pub use connect::connect;
pub use options::{MongoOptions, OptionsError};

use crate::Stores;
use crate::aside::Aside;
use batch::Batcher;

/// The names of the collections.
pub(crate) mod names {
    pub const RUNS: &str = "runs";
    pub const COUNTERS: &str = "counters";
    pub const LANES: &str = "lanes";
    pub const LIMITS: &str = "limits";
    pub const CHUNKS: &str = "log_chunks";
    pub const RESULTS: &str = "test_results";
    pub const WORKERS: &str = "workers";
    pub const SETTINGS: &str = "settings";
    pub const ORGANIZATIONS: &str = "organizations";
    pub const USERS: &str = "users";
    pub const KEYS: &str = "api_keys";
    pub const SESSIONS: &str = "sessions";
    pub const INVITATIONS: &str = "invitations";
    pub const RESETS: &str = "password_resets";
    pub const FAILURES: &str = "sign_in_failures";
    pub const AUDIT: &str = "audit";
    pub const PROJECTS: &str = "projects";
    pub const SET_ASIDE: &str = "set_aside";
}

/// The connection, and what is remembered to save round trips. Cheap to clone.
#[derive(Clone)]
struct Core {
    database: Database,
    /// For a whole call, tries included.
    patience: Duration,
    wakes: Arc<wakes::Wakes>,
    log_ends: Arc<logs::Ends>,
    aside: Arc<Aside>,
}

impl Core {
    fn documents(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// The same collection, for reading without taking every document apart.
    fn raw(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.database.collection(name)
    }
}

/// What implements the traits.
struct Mongo {
    core: Core,
    accepts: Batcher<accept::Accepting, accept::Placed>,
    changes: Batcher<changes::Change, bool>,
    finds: Batcher<RunId, Option<RawDocumentBuf>>,
    lanes: lanes::Watch,
}

/// A connected store. [`close`](Self::close) lets what waits be written first.
pub struct MongoStores {
    mongo: Arc<Mongo>,
    client: Client,
    clock: Arc<clock::ServerClock>,
    following: JoinHandle<()>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl MongoStores {
    /// The parts, to be handed around.
    pub fn stores(&self) -> Stores {
        let mongo = &self.mongo;
        Stores {
            runs: mongo.clone(),
            dispatch: mongo.clone(),
            logs: mongo.clone(),
            tests: mongo.clone(),
            workers: mongo.clone(),
            auth: mongo.clone(),
            organizations: mongo.clone(),
            users: mongo.clone(),
            keys: mongo.clone(),
            sessions: mongo.clone(),
            invitations: mongo.clone(),
            resets: mongo.clone(),
            sign_ins: mongo.clone(),
            audit: mongo.clone(),
            projects: mongo.clone(),
        }
    }

    /// Tells the server's time, so that all who share the store agree on when a lease is over.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Writes what waits and disconnects; later calls find the store unavailable.
    pub async fn close(&self) {
        self.mongo.accepts.close();
        self.mongo.changes.close();
        self.mongo.finds.close();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            if task.await.is_err() {
                tracing::error!("a task of the store ended in a panic");
            }
        }
        self.client.clone().shutdown().immediate(true).await;
    }
}

impl Drop for MongoStores {
    fn drop(&mut self) {
        self.following.abort();
    }
}

//! One suite over every pair of backends: what a user sees must not depend on what it runs on.
//!
//! A pair is one line of [`pairs!`]; each runs all scenarios against one installation.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod installations;
mod scenarios;

use installations::{deployed, embedded};

macro_rules! pairs {
    ($($(#[$doc:meta])* $name:ident = $installation:expr;)*) => {
        $($(#[$doc])* #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            scenarios::all($installation.await).await;
        })*
    };
}

pairs! {
    /// SQLite, embedded queue, local bus, a directory.
    everything_embedded = embedded(&[]);
    sqlite_and_rabbitmq = embedded(&["GANTRY_QUEUE"]);
    mongodb_and_the_embedded_queue = embedded(&["GANTRY_STORE"]);
    mongodb_with_files_for_blobs_rabbitmq_and_redis = embedded(&["GANTRY_STORE", "GANTRY_BLOBS", "GANTRY_QUEUE", "GANTRY_REDIS"]);
    /// Two producers and two workers over MongoDB with GridFS, RabbitMQ and Redis.
    everything_distributed = deployed();
    /// The same without Redis: each producer finds the other's events in the store.
    distributed_without_redis = installations::deployed_without_redis();
}

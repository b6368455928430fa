//! From configuration to parts. What is convenience or transport may be away at the start and is found later; the truth
//! is waited for, for a while.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gantry_blobs::{BlobError, Blobs, GridFsBlobs, GridFsOptions, ObjectBlobs};
use gantry_bus::{BadRedisOptions, Bus, LocalBus, RedisBus, RedisOptions};
use gantry_domain::time::Clock;
use gantry_queue::{EmbeddedQueue, Queue, QueueError, RabbitOptions, RabbitQueue};
use gantry_ratelimit::{Limiter, LocalLimiter, RedisLimiter, RedisLimiterOptions};
use gantry_store::mongo::{self, MongoOptions, MongoStores};
use gantry_store::sqlite::{self, SqliteOptions, SqliteStores};
use gantry_store::{StoreError, Stores};
use tokio::time::Instant;

use super::{BackendConfig, BlobsConfig, QueueConfig, SharingConfig, StoreConfig};
use crate::state::Parts;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why the backends could not be taken into use; says which one.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{what} did not answer for {} s: {error}", .waited.as_secs())]
    Away { what: &'static str, waited: Duration, error: String },
    #[error("{0}")]
    Queue(#[from] QueueError),
    #[error("{0}")]
    Redis(#[from] BadRedisOptions),
    #[error("{0}")]
    Limits(#[from] gantry_ratelimit::BadRedisOptions),
    #[error("{0}")]
    Blobs(#[from] BlobError),
}

/// Backends in use.
pub struct Connected {
    pub parts: Parts,
    store: OpenStore,
    redis: Option<Arc<RedisBus>>,
}

enum OpenStore {
    Sqlite(SqliteStores),
    Mongo(MongoStores),
}

impl OpenStore {
    fn stores(&self) -> Stores {
        match self {
            Self::Sqlite(sqlite) => sqlite.stores(),
            Self::Mongo(mongo) => mongo.stores(),
        }
    }

    /// The time that whoever shares the store agrees on.
    fn clock(&self) -> Option<Arc<dyn Clock>> {
        match self {
            Self::Sqlite(_) => None,
            Self::Mongo(mongo) => Some(mongo.clock()),
        }
    }
}

/// Opens all backends. A store that does not answer is asked again for `patience`, the others may come later. Where the
/// store is shared, so is its server's time; else `clock` tells it.
pub async fn connect(
    config: &BackendConfig,
    clock: Arc<dyn Clock>,
    patience: Duration,
) -> Result<Connected, ConnectError> {
    let store = open_store(&config.store, patience).await?;
    let clock = store.clock().unwrap_or(clock);
    let queue: Arc<dyn Queue> = match &config.queue {
        QueueConfig::Embedded => Arc::new(EmbeddedQueue::new()),
        QueueConfig::Amqp(amqp) => {
            let options = RabbitOptions {
                prefix: amqp.prefix.clone(),
                ca_file: amqp.ca_file.clone(),
                name: "gantry-producer".to_owned(),
                ..RabbitOptions::new(amqp.uri.expose())
            };
            Arc::new(RabbitQueue::connect(options).await?)
        }
    };
    let redis = match &config.sharing {
        SharingConfig::Local => None,
        SharingConfig::Redis { uri, prefix, .. } => {
            let options = RedisOptions { prefix: prefix.clone(), ..RedisOptions::new(uri.expose()) };
            Some(Arc::new(RedisBus::connect(&options)?))
        }
    };
    let bus: Arc<dyn Bus> = match &redis {
        Some(redis) => redis.clone(),
        None => Arc::new(LocalBus::new()),
    };
    let limiter: Arc<dyn Limiter> = match &config.sharing {
        SharingConfig::Local => Arc::new(LocalLimiter::new(clock.clone())),
        SharingConfig::Redis { uri, prefix, replicas } => {
            let (prefix, replicas) = (prefix.clone(), *replicas);
            let options = RedisLimiterOptions { prefix, replicas, ..RedisLimiterOptions::new(uri.expose()) };
            Arc::new(RedisLimiter::connect(&options, clock.clone())?)
        }
    };
    let blobs = open_blobs(&config.blobs, patience).await?;
    let parts = Parts { stores: store.stores(), blobs, queue, bus, limiter, clock };
    Ok(Connected { parts, store, redis })
}

async fn open_store(config: &StoreConfig, patience: Duration) -> Result<OpenStore, ConnectError> {
    match config {
        StoreConfig::Sqlite { path } => Ok(OpenStore::Sqlite(sqlite::open(SqliteOptions::new(path))?)),
        StoreConfig::Mongo { uri } => {
            let options = MongoOptions::new(uri.expose());
            let connect = || mongo::connect(options.clone());
            until_it_answers("the store", patience, connect).await.map(OpenStore::Mongo)
        }
    }
}

async fn open_blobs(config: &BlobsConfig, patience: Duration) -> Result<Arc<dyn Blobs>, ConnectError> {
    Ok(match config {
        BlobsConfig::Directory { path } => Arc::new(ObjectBlobs::directory(path)?),
        BlobsConfig::GridFs { uri } => {
            let options = GridFsOptions::new(uri.expose());
            Arc::new(until_it_answers("the blobs", patience, || GridFsBlobs::connect(&options)).await?)
        }
        BlobsConfig::S3(s3) => Arc::new(ObjectBlobs::s3(&s3.options())?),
    })
}

/// Why something could not be opened, and whether it may be later.
trait OpenError: Into<ConnectError> + std::fmt::Display {
    fn is_away(&self) -> bool;
}

impl OpenError for StoreError {
    fn is_away(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl OpenError for BlobError {
    fn is_away(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Repeats `open` while it is away.
async fn until_it_answers<T, E: OpenError, F: Future<Output = Result<T, E>>>(
    what: &'static str,
    patience: Duration,
    open: impl Fn() -> F,
) -> Result<T, ConnectError> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match open().await {
            Ok(store) => return Ok(store),
            Err(error) if error.is_away() => {
                let waited = begun.elapsed();
                if waited + pause > patience {
                    return Err(ConnectError::Away { what, waited, error: error.to_string() });
                }
                tracing::warn!(%error, "waiting for {what}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Connected {
    /// Ends connections and writes what waits. Whatever uses the parts must have ended.
    pub async fn close(self) {
        self.parts.queue.close().await;
        if let Some(redis) = self.redis {
            redis.close().await;
        }
        drop(self.parts);
        match self.store {
            OpenStore::Sqlite(sqlite) => sqlite.close().await,
            OpenStore::Mongo(mongo) => mongo.close().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_comes_late_is_waited_for() {
        let tries = std::sync::atomic::AtomicU32::new(0);
        let open = || async {
            match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0..5 => Err(StoreError::Unavailable("no server".to_owned())),
                tries => Ok(tries),
            }
        };
        assert_eq!(until_it_answers("the store", Duration::from_secs(60), open).await.unwrap(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_comes_is_given_up_in_time() {
        let begun = Instant::now();
        let open = || async { Err::<(), _>(StoreError::Unavailable("no server".to_owned())) };
        let error = until_it_answers("the store", Duration::from_secs(60), open).await.unwrap_err();
        assert!(begun.elapsed() <= Duration::from_secs(60));
        assert!(error.to_string().starts_with("the store did not answer for "), "{error}");
    }

    #[tokio::test]
    async fn a_store_of_a_newer_version_is_not_waited_for() {
        let open = || async { Err::<(), _>(StoreError::TooNew { found: 9, known: 1 }) };
        let error = until_it_answers("the store", Duration::from_secs(60), open).await.unwrap_err();
        assert!(matches!(error, ConnectError::Store(StoreError::TooNew { .. })), "{error}");
    }
}

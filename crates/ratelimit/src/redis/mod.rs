//! Limits that all replicas share. One script does everything in one round trip, by Redis's own clock. Whatever goes wrong
//! there, a local limiter decides with this replica's share of the limit: never open, never fatal.

mod link;
mod metrics;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Client, RedisError, Script};
use async_trait::async_trait;
use gantry_domain::time::Clock;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::link::Link;
use crate::{Decision, Limit, LimitKey, Limiter, LocalLimiter};

/// No call is waited for longer.
const CALL: Duration = Duration::from_millis(50);

/// Which Redis, under which names, and for how many.
#[derive(Clone)]
pub struct RedisLimiterOptions {
    /// `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS with the machine's certificate authorities.
    pub uri: String,
    /// What all keys begin with: replicas with the same prefix share their limits.
    pub prefix: String,
    /// How many replicas there are: without Redis each lets through its share.
    pub replicas: NonZeroU32,
}

impl RedisLimiterOptions {
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), prefix: "gantry".to_owned(), replicas: NonZeroU32::MIN }
    }
}

impl fmt::Debug for RedisLimiterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URI may hold a password.
        f.debug_struct("RedisLimiterOptions")
            .field("prefix", &self.prefix)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

/// A URI that no Redis can be reached with, however healthy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Redis URI (redis://host:port/db, rediss:// for TLS): {0}")]
pub struct BadRedisOptions(String);

/// Counts what all replicas see. One background task keeps the connection; it ends with this value.
pub struct RedisLimiter {
    script: Script,
    prefix: String,
    replicas: NonZeroU32,
    local: LocalLimiter,
    link: Arc<Link>,
    /// How long a call is waited for.
    patience: Duration,
    task: JoinHandle<()>,
}

/// Why Redis did not decide.
#[derive(Debug, thiserror::Error)]
enum Undecided {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("no answer within {0:?}")]
    Late(Duration),
}

impl RedisLimiter {
    /// Comes up whether or not Redis answers, and finds it once it does. The clock is for the local limits. Needs a tokio
    /// runtime.
    pub fn connect(options: &RedisLimiterOptions, clock: Arc<dyn Clock>) -> Result<Self, BadRedisOptions> {
        metrics::describe();
        let client =
            Client::open(options.uri.as_str()).map_err(|error| BadRedisOptions(error.to_string()))?;
        let link = Arc::new(Link::new());
        let task = tokio::spawn(link::keep_up(link.clone(), client));
        Ok(Self {
            script: Script::new(include_str!("gcra.lua")),
            prefix: options.prefix.clone(),
            replicas: options.replicas,
            local: LocalLimiter::new(clock),
            link,
            patience: CALL,
            task,
        })
    }

    /// Waits until Redis decides.
    pub async fn until_connected(&self) {
        self.link.until_up().await;
    }

    /// Whether this replica decides on its own.
    pub fn is_degraded(&self) -> bool {
        self.link.connection().is_none()
    }

    async fn ask(
        &self,
        mut connection: ::redis::aio::MultiplexedConnection,
        key: &LimitKey,
        limit: Limit,
        cost: NonZeroU32,
    ) -> Result<Decision, Undecided> {
        let mut call = self.script.key(format!("{}:limit:{key}", self.prefix));
        call.arg(limit.interval()).arg(limit.burst.get()).arg(cost.get());
        let asked = call.invoke_async::<(bool, u64, u64, u64)>(&mut connection);
        let answered = timeout(self.patience, asked).await;
        let (allowed, remaining, retry_after, reset) =
            answered.map_err(|_| Undecided::Late(self.patience))??;
        Ok(Decision {
            allowed,
            limit: limit.burst.get(),
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            retry_after: Duration::from_micros(retry_after),
            reset: Duration::from_micros(reset),
        })
    }
}

impl Drop for RedisLimiter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl Limiter for RedisLimiter {
    async fn check(&self, key: &LimitKey, limit: Limit, cost: NonZeroU32) -> Decision {
        if let Some(connection) = self.link.connection() {
            match self.ask(connection.redis, key, limit, cost).await {
                Ok(decision) => return decision,
                Err(undecided) => self.link.broke(connection.number, &undecided),
            }
        }
        ::metrics::counter!("gantry_ratelimit_local_total").increment(1);
        let share = limit.share(self.replicas);
        // What the whole limit allows must be possible here, if seldom.
        let cost = if cost > limit.burst { cost } else { cost.min(share.burst) };
        let decision = self.local.check(key, share, cost).await;
        Decision { limit: limit.burst.get(), ..decision }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire;

//! Live events between replicas through Redis, which is convenience: publishing never waits for it, subscribers hear what
//! happens in their own process without it, and while it is away they are told every second to look into the store.
//!
//! Every replica listens to all organizations by one pattern, on one connection that is always there: subscribing costs no
//! round trip, follows no connection and can't fail, and an event is small beside the store writes that caused it. Each
//! organization has a channel of its own all the same, so that a tenant is part of every name and rights can be cut by it.

mod envelope;
mod metrics;
mod origins;
mod queue;
mod session;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use gantry_domain::event::Event;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::queue::Queue;
use self::session::Link;
use crate::topics::{BACKLOG, Topics};
use crate::{Bus, Heard, Topic};

/// Which Redis, and under which names.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS with the machine's certificate authorities.
    pub uri: String,
    /// What all channels begin with: replicas with the same prefix are one installation. Letters, digits, `-`, `_`, `:`, `.`.
    pub prefix: String,
}

impl RedisOptions {
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), prefix: "gantry".to_owned() }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URI may hold a password.
        f.debug_struct("RedisOptions").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Options that no Redis can be reached with, however healthy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRedisOptions {
    #[error("not a Redis URI (redis://host:port/db, rediss:// for TLS): {0}")]
    Uri(String),
    #[error("a prefix of Redis names has letters, digits, and - _ : . only")]
    Prefix,
}

/// Events between replicas. One background task speaks to Redis; it ends with this value.
pub struct RedisBus {
    topics: Arc<Topics>,
    queue: Arc<Queue>,
    connected: watch::Receiver<bool>,
    closing: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl RedisBus {
    /// Comes up whether or not Redis answers, and finds it once it does. Needs a tokio runtime.
    pub fn connect(options: &RedisOptions) -> Result<Self, BadRedisOptions> {
        metrics::describe();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_:.".contains(c);
        if options.prefix.is_empty() || !options.prefix.chars().all(plain) {
            return Err(BadRedisOptions::Prefix);
        }
        let client = ::redis::Client::open(options.uri.as_str())
            .map_err(|error| BadRedisOptions::Uri(error.to_string()))?;
        let topics = Arc::new(Topics::new(BACKLOG));
        let (queue, events) = Queue::new();
        let (tell_connected, connected) = watch::channel(false);
        let closing = CancellationToken::new();
        let link = Link::new(client, options.prefix.clone(), topics.clone(), queue.clone());
        let task = tokio::spawn(link.keep_up(events, tell_connected, closing.clone()));
        Ok(Self { topics, queue, connected, closing, task: Mutex::new(Some(task)) })
    }

    /// Waits until events of other replicas are heard.
    pub async fn until_connected(&self) {
        // An error means that the task has ended, and the bus with it.
        let _ = self.connected.clone().wait_for(|connected| *connected).await;
    }

    /// Sends what is waiting, takes leave of the other replicas and ends the connection. Bounded, also without Redis.
    pub async fn close(&self) {
        self.closing.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = futures::future::OptionFuture::from(task).await {
            tracing::error!(%error, "the task of the Redis bus broke down");
        }
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

#[async_trait]
impl Bus for RedisBus {
    fn publish(&self, event: Event) {
        self.topics.tell(&event);
        self.queue.push(event);
    }

    async fn subscribe(&self, topic: Topic) -> BoxStream<'static, Heard> {
        self.topics.listen(topic)
    }

    fn is_degraded(&self) -> bool {
        !*self.connected.borrow()
    }
}

#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

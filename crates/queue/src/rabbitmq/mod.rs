//! The queue that producers and workers share: RabbitMQ.
//!
//! Two connections, each made when first needed and made again whenever it ends: one to publish, one to consume. A broker
//! that runs out of memory or disk stops reading from connections that publish, and acknowledgements must go on then.
//! While the broker is away, every call says so at once; consumers and control streams wait for it and go on.

mod consumer;
mod control;
mod link;
mod metrics;
mod options;
mod publisher;
#[cfg(test)]
mod tests;
mod topology;
mod wire;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use gantry_domain::spec::Pool;
use lapin::BasicProperties;
use lapin::types::ShortString;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

pub use self::options::RabbitOptions;

use self::consumer::RabbitConsumer;
use self::link::{Link, Session};
use self::options::Target;
use self::publisher::{Outcome, Outgoing};
use crate::{Consumer, ControlMessage, Queue, QueueError, RunMessage};

/// A queue at a RabbitMQ. Dropping it ends everything that came from it.
pub struct RabbitQueue {
    target: Arc<Target>,
    publishing: Link,
    consuming: Link,
    outgoing: mpsc::Sender<Outgoing>,
    closed: watch::Sender<bool>,
    /// Per pool, messages that consumers of this process hold unacknowledged.
    in_hand: Mutex<HashMap<Pool, Arc<AtomicU64>>>,
    /// Keep the connections up and publish; aborted when this is dropped.
    tasks: tokio::sync::Mutex<Tasks>,
}

struct Tasks {
    _links: JoinSet<()>,
    publisher: JoinSet<()>,
}

fn failed(error: impl std::fmt::Display) -> QueueError {
    QueueError::Unavailable(error.to_string())
}

async fn until_closed(closed: &watch::Receiver<bool>) {
    // An error says that the queue is gone altogether.
    let _ = closed.clone().wait_for(|closed| *closed).await;
}

fn is_closed() -> QueueError {
    QueueError::Unavailable("the queue is closed".to_owned())
}

impl RabbitQueue {
    /// Checks the options and returns; the broker need not be there. Must be called inside a runtime.
    pub async fn connect(options: RabbitOptions) -> Result<Self, QueueError> {
        metrics::describe();
        let target = Arc::new(Target::check(options).await?);
        let closed = watch::channel(false).0;
        let (publishing, keep_publishing) = Link::new(Arc::clone(&target), "publishing", closed.subscribe());
        let (consuming, keep_consuming) = Link::new(Arc::clone(&target), "consuming", closed.subscribe());
        let (outgoing, messages) = mpsc::channel(publisher::BACKLOG);
        let mut tasks = Tasks { _links: JoinSet::new(), publisher: JoinSet::new() };
        tasks._links.spawn(keep_publishing);
        tasks._links.spawn(keep_consuming);
        let patience = target.options.publish_timeout;
        tasks.publisher.spawn(publisher::publish_all(
            publishing.clone(),
            messages,
            closed.subscribe(),
            patience,
        ));
        Ok(Self {
            target,
            publishing,
            consuming,
            outgoing,
            closed,
            in_hand: Mutex::default(),
            tasks: tokio::sync::Mutex::new(tasks),
        })
    }

    /// What every name at the broker begins with.
    pub fn prefix(&self) -> &str {
        &self.target.options.prefix
    }

    /// The present connection for publishing, if the broker takes messages.
    async fn session(&self) -> Result<Arc<Session>, QueueError> {
        if *self.closed.borrow() {
            return Err(is_closed());
        }
        let session = self.publishing.session().await?;
        session.blocked().map_or(Ok(session), Err)
    }

    /// Hands a message to the publisher and waits for the broker's answer.
    async fn send(
        &self,
        session: &Session,
        exchange: ShortString,
        routing_key: ShortString,
        mandatory: bool,
        (body, properties): (Vec<u8>, BasicProperties),
    ) -> Result<Outcome, QueueError> {
        let (reply, answer) = oneshot::channel();
        let message = Outgoing { exchange, routing_key, mandatory, body, properties, reply };
        let confirmed = async {
            self.outgoing.send(message).await.map_err(|_| is_closed())?;
            answer.await.map_err(|_| QueueError::Unavailable("the connection was lost".to_owned()))
        };
        let patience = self.target.options.publish_timeout;
        tokio::select! {
            confirmed = tokio::time::timeout(patience, confirmed) => confirmed.unwrap_or_else(|_| {
                let why = format!("not confirmed within {} s", patience.as_secs_f32());
                Err(QueueError::Unavailable(why))
            }),
            blocked = session.until_blocked() => Err(blocked),
        }
    }

    async fn publish_run(&self, pool: &Pool, message: RunMessage) -> Result<(), QueueError> {
        let names = &self.target.names;
        let content = wire::encode_run(&message);
        let mut again = false;
        loop {
            let session = self.session().await?;
            session.declare(names, pool).await?;
            let (exchange, queue) = (ShortString::from(""), names.runs(pool));
            match self.send(&session, exchange, queue, true, content.clone()).await? {
                Outcome::Confirmed => return Ok(()),
                Outcome::Refused => return Err(QueueError::Full(pool.clone())),
                Outcome::Lost(why) => return Err(QueueError::Unavailable(why)),
                // Somebody deleted the queue since it was declared.
                Outcome::Returned => {
                    ::metrics::counter!("gantry_queue_returned_total").increment(1);
                    session.forget(pool);
                    if std::mem::replace(&mut again, true) {
                        return Err(QueueError::Unroutable(pool.clone()));
                    }
                }
            }
        }
    }

    fn in_hand(&self, pool: &Pool) -> Arc<AtomicU64> {
        let mut in_hand = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(in_hand.entry(pool.clone()).or_default())
    }

    fn counted<T>(kind: &'static str, result: Result<T, QueueError>) -> Result<T, QueueError> {
        if let Err(error) = &result {
            let why = match error {
                QueueError::Unavailable(_) | QueueError::Misconfigured(_) => "unavailable",
                QueueError::Unroutable(_) => "unroutable",
                QueueError::Full(_) => "full",
            };
            ::metrics::counter!("gantry_queue_publish_failures_total", "kind" => kind, "why" => why)
                .increment(1);
        }
        result
    }
}

#[async_trait]
impl Queue for RabbitQueue {
    async fn publish(&self, pool: &Pool, message: RunMessage) -> Result<(), QueueError> {
        Self::counted("run", self.publish_run(pool, message).await)
    }

    async fn consume(&self, pool: &Pool) -> Result<Box<dyn Consumer>, QueueError> {
        if *self.closed.borrow() {
            return Err(is_closed());
        }
        // Now rather than later, so that what is forbidden is said.
        self.consuming.session().await?.declare(&self.target.names, pool).await?;
        let (target, link) = (Arc::clone(&self.target), self.consuming.clone());
        let in_hand = self.in_hand(pool);
        Ok(Box::new(RabbitConsumer::new(target, link, pool.clone(), self.closed.subscribe(), in_hand)))
    }

    /// The broker tells what is ready; what consumers hold it tells only its own tools. Those of this process are
    /// counted in. Each consumer elsewhere may hold one more, for as long as a claim takes.
    async fn depth(&self, pool: &Pool) -> Result<u64, QueueError> {
        let ready = self.session().await?.count(&self.target.names, pool).await?;
        let in_hand = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ready + in_hand.get(pool).map_or(0, |in_hand| in_hand.load(Ordering::SeqCst)))
    }

    async fn unreadable(&self) -> Result<u64, QueueError> {
        self.session().await?.count_dead(&self.target.names).await
    }

    async fn broadcast(&self, message: ControlMessage) -> Result<(), QueueError> {
        let sending = async {
            let session = self.session().await?;
            session.declare_control(&self.target.names).await?;
            let (exchange, to_all) = (self.target.names.control(), ShortString::from(""));
            match self.send(&session, exchange, to_all, false, wire::encode_control(&message)).await? {
                Outcome::Confirmed | Outcome::Returned => Ok(()),
                Outcome::Refused => Err(QueueError::Unavailable("the broker refused the message".to_owned())),
                Outcome::Lost(why) => Err(QueueError::Unavailable(why)),
            }
        };
        Self::counted("control", sending.await)
    }

    async fn control(&self) -> Result<BoxStream<'static, ControlMessage>, QueueError> {
        if *self.closed.borrow() {
            return Err(is_closed());
        }
        control::subscribe(Arc::clone(&self.target), self.consuming.clone(), self.closed.subscribe()).await
    }

    /// Messages under way are waited for, as long as one may take. The connections stay until nobody holds a message.
    async fn close(&self) {
        self.closed.send_replace(true);
        while self.tasks.lock().await.publisher.join_next().await.is_some() {}
    }
}

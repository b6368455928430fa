//! Taking run messages, one at a time, through whatever happens to the connection.
//!
//! What is given back without an acknowledgement (a dropped [`Delivery`], a consumer that is gone) the broker delivers
//! again and counts, up to [`super::topology::DELIVERY_LIMIT`]; then it sets the message aside. That costs a run a
//! delay and nothing else: it is still queued in the store, and its message is published again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use gantry_domain::spec::Pool;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicNackOptions, BasicRejectOptions};
use lapin::{Acker, Channel};
use tokio::sync::watch;
use tokio::time::Instant;

use super::link::{Link, Session};
use super::options::Target;
use super::{failed, topology, until_closed, wire};
use crate::{Consumer, Delivery, QueueError, Receipt};

/// How often a consumer that gets nothing asks whether there is nothing. Somebody who deletes a queue that is made again
/// at once leaves it consuming, as the broker (3.10) sees it, and it is sent nothing ever after.
const DOUBT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// One consumer of a pool. It takes nothing before its first `next`.
pub(super) struct RabbitConsumer {
    pub(super) target: Arc<Target>,
    pub(super) link: Link,
    pub(super) pool: Pool,
    pub(super) closed: watch::Receiver<bool>,
    pub(super) in_hand: Arc<AtomicU64>,
    state: State,
    pause: Duration,
    /// The last doubt was not cleared up.
    doubted: bool,
    /// When to doubt next; not put off by giving up a `next`.
    doubt_at: Instant,
}

enum State {
    Idle,
    /// Kept here, so that giving up a `next` loses nothing that was begun.
    Subscribing(BoxFuture<'static, Result<Subscription, QueueError>>),
    Consuming(Subscription, lapin::Consumer),
    /// No consumer, but the channel that messages in hand are acknowledged on.
    Paused(Subscription),
}

/// A channel of one's own. Closing it gives back whatever is not acknowledged.
struct Subscription {
    session: Arc<Session>,
    channel: Channel,
    /// The consumer itself while it is being made.
    fresh: Option<lapin::Consumer>,
    /// Turns true when the channel is given up.
    over: Arc<AtomicBool>,
    /// Messages of this channel in hand.
    held: Arc<AtomicU64>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl RabbitConsumer {
    pub(super) fn new(
        target: Arc<Target>,
        link: Link,
        pool: Pool,
        closed: watch::Receiver<bool>,
        in_hand: Arc<AtomicU64>,
    ) -> Self {
        Self {
            target,
            link,
            pool,
            closed,
            in_hand,
            state: State::Idle,
            pause: FIRST_PAUSE,
            doubted: false,
            doubt_at: Instant::now(),
        }
    }

    /// On the channel that is there, if it still is, else on a new one.
    fn subscribe(
        &self,
        present: Option<Subscription>,
    ) -> BoxFuture<'static, Result<Subscription, QueueError>> {
        let (target, link, pool) = (Arc::clone(&self.target), self.link.clone(), self.pool.clone());
        let patience = target.options.call_timeout;
        async move {
            let mut subscription = match present.filter(|present| present.channel.status().connected()) {
                Some(present) => present,
                None => {
                    let session = link
                        .up()
                        .await
                        .ok_or_else(|| QueueError::Unavailable("the queue is gone".to_owned()))?;
                    let opening = async {
                        // Declared before or not: it may have been deleted since.
                        session.forget(&pool);
                        session.declare(&target.names, &pool).await?;
                        topology::open_for_runs(&session.connection).await.map_err(failed)
                    };
                    let channel = tokio::time::timeout(patience, opening).await.map_err(failed)??;
                    Subscription { session, channel, fresh: None, over: Arc::default(), held: Arc::default() }
                }
            };
            let consuming = topology::consume_runs(&subscription.channel, &target.names, &pool);
            let consumer =
                tokio::time::timeout(patience, consuming).await.map_err(failed)?.map_err(failed)?;
            subscription.fresh = Some(consumer);
            Ok(subscription)
        }
        .boxed()
    }

    fn deliver(&self, subscription: &Subscription, raw: lapin::message::Delivery) -> Option<Delivery> {
        match wire::decode_run(&raw.data, &raw.properties) {
            Ok(message) => {
                let counts = [Arc::clone(&self.in_hand), Arc::clone(&subscription.held)];
                for count in &counts {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                let receipt = RabbitReceipt {
                    acker: raw.acker,
                    over: Arc::clone(&subscription.over),
                    counts,
                    patience: self.target.options.call_timeout,
                };
                Some(Delivery::new(message, Box::new(receipt)))
            }
            Err(why) => {
                tracing::error!(pool = %self.pool, %why, "an unreadable run message is set aside");
                metrics::counter!("gantry_queue_unreadable_total", "kind" => "run", "why" => why.label())
                    .increment(1);
                send(raw.acker.reject(BasicRejectOptions { requeue: false }));
                None
            }
        }
    }
}

/// Sends what a future sends when it is first polled; whether it arrives the broker's next delivery shows.
fn send(sending: impl Future<Output = lapin::Result<bool>>) {
    let _ = sending.now_or_never();
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            if *self.closed.borrow() {
                self.pause().await;
                return None;
            }
            match std::mem::replace(&mut self.state, State::Idle) {
                State::Idle => self.state = State::Subscribing(self.subscribe(None)),
                State::Paused(subscription) => {
                    self.state = State::Subscribing(self.subscribe(Some(subscription)));
                }
                State::Subscribing(subscribing) => {
                    self.state = State::Subscribing(subscribing);
                    let State::Subscribing(subscribing) = &mut self.state else { continue };
                    let subscribed = tokio::select! {
                        () = until_closed(&self.closed) => continue,
                        subscribed = subscribing => subscribed,
                    };
                    match subscribed {
                        Ok(mut subscription) => {
                            let Some(consumer) = subscription.fresh.take() else { continue };
                            self.doubt_at = Instant::now() + DOUBT;
                            self.state = State::Consuming(subscription, consumer);
                        }
                        Err(error) => {
                            self.state = State::Idle;
                            tracing::warn!(pool = %self.pool, %error, "not consuming; trying again");
                            self.rest().await;
                        }
                    }
                }
                State::Consuming(subscription, consumer) => {
                    self.state = State::Consuming(subscription, consumer);
                    let State::Consuming(_, consumer) = &mut self.state else { continue };
                    let came = tokio::select! {
                        biased;
                        () = until_closed(&self.closed) => continue,
                        came = consumer.next() => came,
                        () = tokio::time::sleep_until(self.doubt_at) => {
                            self.doubt_at = Instant::now() + DOUBT;
                            if self.is_deaf().await {
                                tracing::warn!(pool = %self.pool, "consuming, but sent nothing of what is there");
                                self.lost().await;
                            }
                            continue;
                        }
                    };
                    self.doubted = false;
                    self.doubt_at = Instant::now() + DOUBT;
                    let State::Consuming(subscription, _) = &self.state else { continue };
                    match came {
                        Some(Ok(raw)) => {
                            self.pause = FIRST_PAUSE;
                            if let Some(delivery) = self.deliver(subscription, raw) {
                                return Some(delivery);
                            }
                        }
                        Some(Err(error)) => {
                            tracing::warn!(pool = %self.pool, %error, "consuming was interrupted");
                            self.lost().await;
                        }
                        // The queue was deleted, or somebody cancelled the consumer: no error tells of either.
                        None => {
                            tracing::warn!(pool = %self.pool, "consuming was cancelled");
                            self.lost().await;
                        }
                    }
                }
            }
        }
    }

    async fn pause(&mut self) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {}
            // Dropping it gives back what it may have been sent; nothing of its channel is in hand, unless it resumes.
            State::Subscribing(subscribing) => {
                if let Ok(Ok(mut subscription)) =
                    tokio::time::timeout(self.target.options.call_timeout, subscribing).await
                    && let Some(consumer) = subscription.fresh.take()
                {
                    self.cancel(subscription, consumer).await;
                }
            }
            State::Consuming(subscription, consumer) => self.cancel(subscription, consumer).await,
            State::Paused(subscription) => self.state = State::Paused(subscription),
        }
    }
}

impl RabbitConsumer {
    /// Gives up the channel, and with it what is in hand: one that outlived its queue knows nothing of the next queue of
    /// that name.
    async fn lost(&mut self) {
        metrics::counter!("gantry_queue_consumers_lost_total").increment(1);
        self.state = State::Idle;
        self.doubted = false;
        self.rest().await;
    }

    /// Whether twice in a row there was something to take, and it was not sent although there was nothing in hand.
    async fn is_deaf(&mut self) -> bool {
        let State::Consuming(subscription, _) = &self.state else { return false };
        let idle = subscription.held.load(Ordering::SeqCst) == 0;
        let ready = subscription.session.count(&self.target.names, &self.pool).await;
        let doubtful = idle && ready.is_ok_and(|ready| ready > 0);
        std::mem::replace(&mut self.doubted, doubtful) && doubtful
    }

    async fn rest(&mut self) {
        let pause = self.pause.mul_f64(rand::random_range(0.5..=1.0));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = until_closed(&self.closed) => {}
        }
    }

    /// Ends the consumer and keeps the channel. What arrived before the broker knew is given back.
    async fn cancel(&mut self, subscription: Subscription, mut consumer: lapin::Consumer) {
        let cancelling = subscription.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        let cancelled = tokio::time::timeout(self.target.options.call_timeout, cancelling).await;
        while let Some(Some(arrived)) = consumer.next().now_or_never() {
            if let Ok(raw) = arrived {
                send(raw.acker.nack(BasicNackOptions { requeue: true, ..Default::default() }));
            }
        }
        // A channel that does not answer is given up, and with it what is in hand.
        if matches!(cancelled, Ok(Ok(()))) {
            self.state = State::Paused(subscription);
        }
    }
}

struct RabbitReceipt {
    acker: Acker,
    over: Arc<AtomicBool>,
    counts: [Arc<AtomicU64>; 2],
    patience: Duration,
}

#[async_trait]
impl Receipt for RabbitReceipt {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        let gone = || QueueError::Unavailable("the consumer of this message is gone".to_owned());
        if self.over.load(Ordering::SeqCst) {
            return Err(gone());
        }
        let acknowledging = self.acker.ack(BasicAckOptions::default());
        match tokio::time::timeout(self.patience, acknowledging).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(gone()),
            Ok(Err(error)) => Err(failed(error)),
            Err(elapsed) => Err(failed(elapsed)),
        }
    }
}

impl Drop for RabbitReceipt {
    /// Gives the message back, unless it was acknowledged: then the driver sends nothing.
    fn drop(&mut self) {
        for count in &self.counts {
            count.fetch_sub(1, Ordering::SeqCst);
        }
        if !self.over.load(Ordering::SeqCst) {
            send(self.acker.nack(BasicNackOptions { requeue: true, ..Default::default() }));
        }
    }
}

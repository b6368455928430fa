//! The task between the bus and Redis: connects, sends, listens, and begins anew after any failure.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{MultiplexedConnection, PubSub};
use ::redis::{AsyncConnectionConfig, Client, Msg, Pipeline, RedisError, cmd};
use futures::StreamExt as _;
use gantry_domain::event::Event;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::envelope::{Content, Envelope};
use super::origins::{Origins, Place};
use super::queue::{Numbered, Queue};
use crate::topics::Topics;

/// No call is waited for longer. A late one is not a failed one: sending goes on, and silence ends the session.
const CALL: Duration = Duration::from_millis(50);
/// For everything that a new connection takes, name resolution and TLS included. Nobody waits for it.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two signs of life, and between two gaps that subscribers hear while events are being missed.
const BEAT: Duration = Duration::from_secs(1);
/// Without a beat, our own included, for this long the connection is dead, whatever TCP says.
const SILENCE: Duration = Duration::from_secs(3);
/// Between two tries to connect.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(2);
/// Messages in one round trip.
const BATCH: usize = 256;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("no answer within {} ms", CONNECT.as_millis())]
    NoAnswer,
    #[error("nothing was heard for {} s", SILENCE.as_secs())]
    Silent,
    #[error("the subscription ended")]
    Ended,
}

pub(super) struct Link {
    client: Client,
    prefix: String,
    topics: Arc<Topics>,
    queue: Arc<Queue>,
    /// Tells our own messages from those of others.
    origin: u64,
    origins: Origins,
}

/// The two connections of a session: one that listens cannot send.
struct Session {
    sends: MultiplexedConnection,
    listens: PubSub,
}

impl Link {
    pub(super) fn new(client: Client, prefix: String, topics: Arc<Topics>, queue: Arc<Queue>) -> Self {
        Self { client, prefix, topics, queue, origin: rand::random::<u64>(), origins: Origins::default() }
    }

    /// Runs until `closing`.
    pub(super) async fn keep_up(
        mut self,
        mut events: mpsc::Receiver<Numbered>,
        connected: watch::Sender<bool>,
        closing: CancellationToken,
    ) {
        let mut failures = 0;
        let mut beat = beats();
        while !closing.is_cancelled() {
            let tried = tokio::select! {
                tried = connect(&self.client, &self.prefix) => tried,
                () = self.without_redis(&mut events, &mut beat) => return,
                () = closing.cancelled() => return,
            };
            let broken = match tried {
                Ok(session) => {
                    failures = 0;
                    self.origins.reconnected(Instant::now());
                    // What happened before this connection was missed.
                    self.topics.tell_gap();
                    let _ = connected.send(true);
                    tracing::info!("live events go through Redis");
                    let broken = self.session(session, &mut events, &closing).await;
                    let _ = connected.send(false);
                    self.topics.tell_gap();
                    beat.reset();
                    broken
                }
                Err(broken) => Some(broken),
            };
            let Some(broken) = broken else { return };
            if failures == 0 {
                tracing::warn!(%broken, "no live events between replicas: views ask the store until Redis is back");
            }
            metrics::counter!("gantry_bus_failures_total").increment(1);
            let pause = FIRST_DELAY.saturating_mul(1 << failures.min(5)).min(LAST_DELAY);
            failures += 1;
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {}
                () = self.without_redis(&mut events, &mut beat) => return,
                () = closing.cancelled() => return,
            }
        }
    }

    /// Ends with the bus. Events that can't be sent count as missed; subscribers look into the store every second.
    async fn without_redis(&self, events: &mut mpsc::Receiver<Numbered>, beat: &mut Interval) {
        loop {
            tokio::select! {
                _ = beat.tick() => self.topics.tell_gap(),
                event = events.recv() => if event.is_none() {
                    return;
                },
            }
        }
    }

    /// `None` when it ended because the bus did.
    async fn session(
        &mut self,
        session: Session,
        events: &mut mpsc::Receiver<Numbered>,
        closing: &CancellationToken,
    ) -> Option<Broken> {
        let mut ears =
            Ears { topics: &self.topics, prefix: &self.prefix, own: self.origin, origins: &mut self.origins };
        let mut mouth = Mouth {
            connection: session.sends,
            prefix: &self.prefix,
            origin: self.origin,
            queue: &self.queue,
            sent: 0,
        };
        tokio::select! {
            Err(broken) = ears.listen(session.listens) => Some(broken),
            told = mouth.tell(events, closing) => told.err(),
        }
    }
}

async fn connect(client: &Client, prefix: &str) -> Result<Session, Broken> {
    let connecting = async {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(CONNECT));
        let sends = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut listens = client.get_async_pubsub().await?;
        listens.psubscribe(format!("{prefix}:events:*")).await?;
        listens.subscribe(beats_channel(prefix)).await?;
        Ok(Session { sends, listens })
    };
    timeout(CONNECT, connecting).await.unwrap_or(Err(Broken::NoAnswer))
}

fn beats_channel(prefix: &str) -> String {
    format!("{prefix}:beats")
}

fn events_channel(prefix: &str, event: &Event) -> String {
    format!("{prefix}:events:{}", event.organization)
}

/// The first one comes after a full period.
fn beats() -> Interval {
    let mut beats = interval(BEAT);
    beats.reset();
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

/// What is told to other replicas.
struct Mouth<'a> {
    connection: MultiplexedConnection,
    prefix: &'a str,
    origin: u64,
    queue: &'a Queue,
    /// The number of the last event that was sent, or known to be missed.
    sent: u64,
}

impl Mouth<'_> {
    /// Ends well when the bus does.
    async fn tell(
        &mut self,
        events: &mut mpsc::Receiver<Numbered>,
        closing: &CancellationToken,
    ) -> Result<(), Broken> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = beat.tick() => {
                    self.sent = self.queue.settled(events).unwrap_or(self.sent);
                    self.send(&mut batch, Some(Content::Beat)).await?;
                }
                count = events.recv_many(&mut batch, BATCH) => match count {
                    0 => return Ok(()),
                    _ => self.send(&mut batch, None).await?,
                },
                () = closing.cancelled() => break,
            }
        }
        // Everything published before the end is in the queue by now.
        events.close();
        while events.recv_many(&mut batch, BATCH).await > 0 {
            self.send(&mut batch, None).await?;
        }
        self.send(&mut batch, Some(Content::Farewell)).await
    }

    /// One round trip.
    async fn send(&mut self, batch: &mut Vec<Numbered>, last: Option<Content>) -> Result<(), Broken> {
        let mut messages = Pipeline::with_capacity(batch.len() + 1);
        for Numbered { sequence, event } in batch.drain(..) {
            self.sent = sequence;
            let channel = events_channel(self.prefix, &event);
            self.add(&mut messages, channel, Content::Event(event));
        }
        if let Some(content) = last {
            self.add(&mut messages, beats_channel(self.prefix), content);
        }
        match timeout(CALL, messages.query_async::<()>(&mut self.connection)).await {
            Ok(outcome) => Ok(outcome?),
            Err(_late) => {
                metrics::counter!("gantry_bus_late_total").increment(1);
                Ok(())
            }
        }
    }

    fn add(&self, messages: &mut Pipeline, channel: String, content: Content) {
        let message = Envelope::new(self.origin, self.sent, content).to_bytes();
        messages.add_command(cmd("PUBLISH").arg(channel).arg(message).clone()).ignore();
    }
}

/// What is heard from other replicas.
struct Ears<'a> {
    topics: &'a Topics,
    prefix: &'a str,
    own: u64,
    origins: &'a mut Origins,
}

impl Ears<'_> {
    async fn listen(&mut self, mut subscription: PubSub) -> Result<Infallible, Broken> {
        let mut messages = subscription.on_message();
        let mut beat = beats();
        let mut heard_at = Instant::now();
        // Unreadable messages may come in floods, from a newer version.
        let mut owes_gap = false;
        loop {
            tokio::select! {
                message = messages.next() => {
                    heard_at = Instant::now();
                    owes_gap |= !self.hear(&message.ok_or(Broken::Ended)?);
                }
                _ = beat.tick() => {
                    if heard_at.elapsed() > SILENCE {
                        return Err(Broken::Silent);
                    }
                    if std::mem::take(&mut owes_gap) || self.origins.is_one_silent(Instant::now()) {
                        self.topics.tell_gap();
                    }
                }
            }
        }
    }

    /// False when it could not be read.
    fn hear(&mut self, message: &Msg) -> bool {
        let Some(envelope) = Envelope::from_bytes(message.get_payload_bytes()) else {
            metrics::counter!("gantry_bus_unreadable_total").increment(1);
            return false;
        };
        let Envelope { origin, sequence, content, .. } = envelope;
        if origin == self.own {
            return true; // Subscribers heard it when it was published.
        }
        match content {
            Content::Event(event) => {
                // An organization's events come by its own channel only.
                if message.get_channel_name() != events_channel(self.prefix, &event) {
                    return false;
                }
                let place = self.origins.event(origin, sequence);
                if place == Place::AfterGap {
                    self.topics.tell_gap();
                }
                if place != Place::Old {
                    self.topics.tell(&event);
                }
            }
            Content::Beat => {
                if self.origins.beat(origin, sequence) == Place::AfterGap {
                    self.topics.tell_gap();
                }
            }
            Content::Farewell => self.origins.farewell(origin),
        }
        true
    }
}

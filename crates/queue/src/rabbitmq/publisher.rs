//! Publishing: everybody's messages on one channel, each told when the broker confirmed it.
//!
//! The driver hands a returned message to whichever confirmation comes next, which with several messages under way need
//! not be its own. So outcomes are read together and matched by the id that every message carries. What makes that
//! exact: a return arrives before the confirmation of the same message, so it sits in a confirmation that was complete
//! no later. Whoever looks through *all* confirmations again after seeing one complete has seen its return.

use std::collections::HashSet;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::link::{Link, Session};
use super::until_closed;

/// Messages that wait to be sent; beyond that, callers wait.
pub(super) const BACKLOG: usize = 1024;
/// Messages without a confirmation. Looking through them costs a microsecond or two per hundred.
const UNDER_WAY: usize = 512;
/// A message that is not confirmed by then never will be: the channel is given up.
const HOPELESS: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A message on its way to the broker.
pub(super) struct Outgoing {
    pub exchange: ShortString,
    pub routing_key: ShortString,
    /// To be returned when no queue takes it.
    pub mandatory: bool,
    pub body: Vec<u8>,
    pub properties: BasicProperties,
    pub reply: oneshot::Sender<Outcome>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Confirmed,
    /// No queue takes it.
    Returned,
    /// The broker refused responsibility: the queue is full.
    Refused,
    /// Nobody knows.
    Lost(String),
}

/// Publishes until the queue is closed and everything under way is settled.
pub(super) async fn publish_all(
    link: Link,
    mut outgoing: mpsc::Receiver<Outgoing>,
    closed: watch::Receiver<bool>,
    patience: Duration,
) {
    loop {
        tokio::select! {
            biased;
            () = until_closed(&closed) => return,
            session = link.up() => {
                let Some(session) = session else { return };
                if let Err(error) = publish_over(&session, &mut outgoing, &closed, patience).await {
                    tracing::debug!(%error, "the publishing channel ended");
                    // Shorter than anybody waits, longer than a busy loop.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            message = outgoing.recv() => {
                let Some(message) = message else { return };
                let _ = message.reply.send(Outcome::Lost("the connection was lost".to_owned()));
            }
        }
    }
}

/// Until the channel fails or the queue is closed.
async fn publish_over(
    session: &Session,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    closed: &watch::Receiver<bool>,
    patience: Duration,
) -> lapin::Result<()> {
    let channel = session.connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut flights = Flights::new(channel);
    loop {
        let taken = tokio::select! {
            taken = flights.advance(outgoing) => taken,
            () = tokio::time::sleep(LOOK_AGAIN) => Taken::All,
            () = until_closed(closed) => Taken::NoMore,
        };
        if matches!(taken, Taken::NoMore) {
            let _ = tokio::time::timeout(patience, flights.land()).await;
            return Ok(());
        }
        if flights.hopeless() || !flights.channel.status().connected() {
            return Ok(());
        }
    }
}

enum Taken {
    All,
    /// Nobody can send any more.
    NoMore,
}

/// Messages under way on one channel.
struct Flights {
    channel: Channel,
    next_id: u64,
    under_way: Vec<Flight>,
    /// Returned messages whose own confirmation has not come yet.
    returned: HashSet<String>,
}

struct Flight {
    id: String,
    begun: Instant,
    confirming: BoxFuture<'static, lapin::Result<Confirmation>>,
    confirmed: Option<lapin::Result<bool>>,
    reply: oneshot::Sender<Outcome>,
}

impl Flights {
    fn new(channel: Channel) -> Self {
        Self { channel, next_id: 0, under_way: Vec::new(), returned: HashSet::new() }
    }

    fn begin(&mut self, message: Outgoing) {
        let id = self.next_id.to_string();
        self.next_id += 1;
        let channel = self.channel.clone();
        let Outgoing { exchange, routing_key, mandatory, body, properties, reply } = message;
        let properties = properties.with_message_id(ShortString::from(id.as_str()));
        // The first poll sends it: polled in order, messages go out in order.
        let confirming = async move {
            let options = BasicPublishOptions { mandatory, ..Default::default() };
            channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
        };
        let flight =
            Flight { id, begun: Instant::now(), confirming: confirming.boxed(), confirmed: None, reply };
        self.under_way.push(flight);
    }

    /// Sends what comes in until something is settled.
    async fn advance(&mut self, outgoing: &mut mpsc::Receiver<Outgoing>) -> Taken {
        std::future::poll_fn(|context| {
            let mut taken = Taken::All;
            while self.under_way.len() < UNDER_WAY {
                match outgoing.poll_recv(context) {
                    Poll::Ready(Some(message)) => self.begin(message),
                    Poll::Ready(None) => {
                        taken = Taken::NoMore;
                        break;
                    }
                    Poll::Pending => break,
                }
            }
            if self.settle(context) || matches!(taken, Taken::NoMore) {
                Poll::Ready(taken)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Waits for everything under way.
    async fn land(&mut self) {
        std::future::poll_fn(|context| {
            self.settle(context);
            if self.under_way.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Tells those whose outcome is known; whether there were any.
    fn settle(&mut self, context: &mut Context<'_>) -> bool {
        let mut any = false;
        // Until a look through all of them finds nothing new: see above.
        while self.look_through(context) {
            any = true;
        }
        if any {
            let (known, open) = std::mem::take(&mut self.under_way)
                .into_iter()
                .partition::<Vec<_>, _>(|flight| flight.confirmed.is_some());
            self.under_way = open;
            for flight in known {
                let returned = self.returned.remove(&flight.id);
                let outcome = match flight.confirmed {
                    Some(Ok(_)) if returned => Outcome::Returned,
                    Some(Ok(true)) => Outcome::Confirmed,
                    Some(Ok(false)) => Outcome::Refused,
                    Some(Err(error)) => Outcome::Lost(error.to_string()),
                    None => continue,
                };
                // Whoever asked may have stopped waiting.
                let _ = flight.reply.send(outcome);
            }
        }
        any
    }

    /// Looks at every flight once, in order; whether another one is confirmed now.
    fn look_through(&mut self, context: &mut Context<'_>) -> bool {
        let mut news = false;
        for flight in &mut self.under_way {
            if flight.confirmed.is_some() {
                continue;
            }
            let Poll::Ready(confirmation) = Pin::new(&mut flight.confirming).poll(context) else { continue };
            news = true;
            flight.confirmed = Some(confirmation.map(|confirmation| {
                let acknowledged = confirmation.is_ack();
                if let Some(message) = confirmation.take_message()
                    && let Some(id) = message.delivery.properties.message_id()
                {
                    self.returned.insert(id.to_string());
                }
                acknowledged
            }));
        }
        news
    }

    fn hopeless(&self) -> bool {
        self.under_way.first().is_some_and(|oldest| oldest.begun.elapsed() > HOPELESS)
    }
}

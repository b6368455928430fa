//! Control messages from the fan-out exchange, through whatever happens to the connection. Those sent while there was
//! none are missed, as the trait says.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use lapin::Channel;
use lapin::options::BasicAckOptions;
use tokio::sync::watch;

use super::link::{Link, Session};
use super::options::Target;
use super::{failed, topology, until_closed, wire};
use crate::{ControlMessage, QueueError};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

struct Subscriber {
    target: Arc<Target>,
    link: Link,
    closed: watch::Receiver<bool>,
    /// The channel is held so that it stays open.
    present: Option<(Channel, lapin::Consumer)>,
    pause: Duration,
}

/// Subscribed when this returns.
pub(super) async fn subscribe(
    target: Arc<Target>,
    link: Link,
    closed: watch::Receiver<bool>,
) -> Result<BoxStream<'static, ControlMessage>, QueueError> {
    let session = link.session().await?;
    let present = open(&session, &target).await?;
    let subscriber = Subscriber { target, link, closed, present: Some(present), pause: FIRST_PAUSE };
    Ok(futures::stream::unfold(subscriber, |mut subscriber| async {
        subscriber.next().await.map(|message| (message, subscriber))
    })
    .boxed())
}

async fn open(session: &Session, target: &Target) -> Result<(Channel, lapin::Consumer), QueueError> {
    let opening = async {
        let channel = session.connection.create_channel().await?;
        let consumer = topology::subscribe_control(&channel, &target.names).await?;
        Ok((channel, consumer))
    };
    tokio::time::timeout(target.options.call_timeout, opening)
        .await
        .map_err(failed)?
        .map_err(|error: lapin::Error| failed(error))
}

impl Subscriber {
    async fn next(&mut self) -> Option<ControlMessage> {
        loop {
            let Some((_, consumer)) = &mut self.present else {
                let link = self.link.clone();
                let session = tokio::select! {
                    () = until_closed(&self.closed) => return None,
                    session = link.up() => session?,
                };
                match open(&session, &self.target).await {
                    Ok(present) => self.present = Some(present),
                    Err(error) => {
                        tracing::warn!(%error, "no control messages; trying again");
                        self.rest().await;
                    }
                }
                continue;
            };
            let came = tokio::select! {
                biased;
                () = until_closed(&self.closed) => return None,
                came = consumer.next() => came,
            };
            match came {
                Some(Ok(raw)) => {
                    self.pause = FIRST_PAUSE;
                    let _ = raw.acker.ack(BasicAckOptions::default()).now_or_never();
                    match wire::decode_control(&raw.data) {
                        Ok(message) => return Some(message),
                        Err(why) => {
                            tracing::warn!(%why, "an unreadable control message is skipped");
                            metrics::counter!("gantry_queue_unreadable_total", "kind" => "control", "why" => why.label())
                                .increment(1);
                        }
                    }
                }
                Some(Err(_)) | None => {
                    tracing::warn!("control messages were interrupted");
                    self.present = None;
                    self.rest().await;
                }
            }
        }
    }

    async fn rest(&mut self) {
        let pause = self.pause.mul_f64(rand::random_range(0.5..=1.0));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = until_closed(&self.closed) => {}
        }
    }
}

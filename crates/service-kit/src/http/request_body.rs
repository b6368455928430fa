//! Request bodies that stall or drip are cut off. Only the time that we spend waiting for the peer counts, never the
//! time that a handler takes between two reads.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::ServeOptions;

/// The error of a body that came too slowly; found in the source chain of what the handler's extractor reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request body came too slowly")]
pub struct BodyTimedOut;

impl BodyTimedOut {
    /// Whether `error` comes from a body that was cut off (to answer `408` instead of `400`).
    pub fn caused(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Self>())
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body under the bounds of [`ServeOptions`].
pub(super) struct TimedBody {
    incoming: Incoming,
    idle_timeout: Duration,
    min_rate: u64,
    waiting: Option<Wait>,
    waited: Duration,
    received: u64,
    cut_off: bool,
}

struct Wait {
    since: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl TimedBody {
    pub(super) fn new(incoming: Incoming, options: &ServeOptions) -> Self {
        Self {
            incoming,
            idle_timeout: options.body_idle_timeout,
            min_rate: options.min_body_rate,
            waiting: None,
            waited: Duration::ZERO,
            received: 0,
            cut_off: false,
        }
    }

    /// The grace is one idle timeout in all; after it the average counts.
    fn is_too_slow(&self) -> bool {
        let counted = self.waited.saturating_sub(self.idle_timeout).as_secs_f64();
        let (received, min_rate) = (self.received as f64, self.min_rate as f64);
        received < min_rate * counted
    }

    fn cut(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.cut_off = true;
        metrics::counter!("gantry_http_bodies_cut_off_total").increment(1);
        Poll::Ready(Some(Err(Box::new(BodyTimedOut))))
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.cut_off {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(wait) = self.waiting.take() {
                    self.waited += wait.since.elapsed();
                }
                let Some(frame) = frame else { return Poll::Ready(None) };
                if let Ok(frame) = &frame {
                    self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                if self.is_too_slow() {
                    return self.cut();
                }
                Poll::Ready(Some(frame.map_err(BoxError::from)))
            }
            Poll::Pending => {
                let idle_timeout = self.idle_timeout;
                let wait = self.waiting.get_or_insert_with(|| Wait {
                    since: Instant::now(),
                    deadline: Box::pin(tokio::time::sleep(idle_timeout)),
                });
                if wait.deadline.as_mut().poll(cx).is_ready() { self.cut() } else { Poll::Pending }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.cut_off || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

//! The answer's body: tells the connection when the answer is over, and ends event streams at shutdown, since a drain
//! would wait for them in vain. The `retry:` hint sends clients to another replica soon.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http_body::{Frame, SizeHint};

use super::connection::Activity;
use crate::shutdown::Shutdown;

const RETRY_HINT: &[u8] = b"retry: 1000\n\n";

/// Marks the end of a request when the answer has been sent or dropped.
pub(super) struct InFlight(pub(super) Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

/// The body of every answer.
pub(super) struct AnswerBody {
    body: Body,
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// A hint in the middle of an event would corrupt it.
    between_events: bool,
    ended: bool,
    _in_flight: InFlight,
}

impl AnswerBody {
    pub(super) fn wrap(response: Response, in_flight: InFlight, shutdown: &Shutdown) -> http::Response<Self> {
        let events = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let stop = events.then(|| Box::pin(shutdown.clone().into_triggered()) as Pin<Box<_>>);
        response.map(|body| Self { body, stop, between_events: true, ended: false, _in_flight: in_flight })
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(stop) = &mut self.stop
            && stop.as_mut().poll(cx).is_ready()
        {
            self.ended = true;
            let hint = self.between_events.then(|| Ok(Frame::data(Bytes::from_static(RETRY_HINT))));
            return Poll::Ready(hint);
        }
        let poll = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &poll
            && self.stop.is_some()
            && let Some(data) = frame.data_ref()
            && !data.is_empty()
        {
            self.between_events = data.ends_with(b"\n\n");
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

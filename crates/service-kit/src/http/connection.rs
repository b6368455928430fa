//! What one connection is doing, seen from three sides: the socket (bytes), the service (requests) and the server,
//! which closes the ones that overstay.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ServeOptions;

/// Times are milliseconds since the server's start, plus one: so that 0 can mean "not".
const NOT: u64 = 0;
/// A request is in flight.
const BUSY: u64 = u64::MAX;
/// The answer is made, but the socket has not taken all of it.
const SENDING: u64 = u64::MAX - 1;
/// Given up by the server, for good.
const CLOSED: u64 = u64::MAX - 2;

/// Shared by the socket, the service and the server.
#[derive(Debug)]
pub(super) struct Activity {
    epoch: Instant,
    /// Since when nothing is in flight, or [`BUSY`], [`SENDING`], [`CLOSED`]. Only compare-and-set leaves a silent state,
    /// so that a request is never accepted on a connection being closed.
    silent_since: AtomicU64,
    /// When the first byte of the head being read came.
    head_since: AtomicU64,
    /// Since when the peer takes no byte.
    blocked_since: AtomicU64,
    served_before: AtomicU64,
    close: CancellationToken,
    /// Tells the server, which may wait for a connection that can give way.
    fell_silent: Arc<Notify>,
}

/// Why the server closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Head,
    Idle,
    Stalled,
}

impl Overdue {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
        }
    }
}

impl Activity {
    pub(super) fn new(epoch: Instant, fell_silent: Arc<Notify>) -> Self {
        let activity = Self {
            epoch,
            silent_since: AtomicU64::new(NOT),
            head_since: AtomicU64::new(NOT),
            blocked_since: AtomicU64::new(NOT),
            served_before: AtomicU64::new(NOT),
            close: CancellationToken::new(),
            fell_silent,
        };
        activity.silent_since.store(activity.now(), Ordering::Relaxed);
        activity
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX / 2) + 1
    }

    /// A request's head is complete; `false` when the server has given the connection up.
    pub(super) fn request_began(&self) -> bool {
        self.head_since.store(NOT, Ordering::Relaxed);
        self.silent_since
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| (state != CLOSED).then_some(BUSY))
            .is_ok()
    }

    /// The answer has been handed over in full, or dropped; what hyper holds of it is still to be sent.
    pub(super) fn request_ended(&self) {
        let _ = self.silent_since.compare_exchange(BUSY, SENDING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The socket has taken everything: hyper flushes only when its own buffer is empty.
    fn flushed(&self) {
        if self.silent_since.load(Ordering::Relaxed) != SENDING {
            return;
        }
        self.served_before.store(1, Ordering::Relaxed);
        self.head_since.store(NOT, Ordering::Relaxed);
        let now = self.now();
        if self.silent_since.compare_exchange(SENDING, now, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.fell_silent.notify_one();
        }
    }

    /// Since when it is silent; `None` while a request is in flight, an answer on its way, or when it is closing.
    pub(super) fn silent_since(&self) -> Option<u64> {
        let state = self.silent_since.load(Ordering::Acquire);
        (state < CLOSED).then_some(state)
    }

    /// Gives the connection up if it is silent; `true` when this call did.
    pub(super) fn close_if_silent(&self) -> bool {
        let Some(since) = self.silent_since() else { return false };
        let won =
            self.silent_since.compare_exchange(since, CLOSED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if won {
            self.close.cancel();
        }
        won
    }

    pub(super) async fn closed(&self) {
        self.close.cancelled().await;
    }

    /// Closes the connection when it overstays; says why when it did.
    pub(super) fn close_if_overdue(&self, options: &ServeOptions) -> Option<Overdue> {
        let now = self.now();
        let past = |since: u64, bound: Duration| u128::from(now.saturating_sub(since)) >= bound.as_millis();
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        if blocked != NOT && past(blocked, options.write_stall_timeout) {
            let before = self.silent_since.swap(CLOSED, Ordering::AcqRel);
            self.close.cancel();
            return (before != CLOSED).then_some(Overdue::Stalled);
        }
        let silent = self.silent_since()?;
        let head = self.head_since.load(Ordering::Relaxed);
        let (since, bound, why) = if head != NOT {
            (head, options.header_timeout, Overdue::Head)
        } else if self.served_before.load(Ordering::Relaxed) == NOT {
            (silent, options.header_timeout, Overdue::Head)
        } else {
            (silent, options.idle_timeout, Overdue::Idle)
        };
        (past(since, bound) && self.close_if_silent()).then_some(why)
    }

    fn received(&self) {
        if self.silent_since().is_some() {
            let _ = self.head_since.compare_exchange(NOT, self.now(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn write_progress<T>(&self, poll: &Poll<io::Result<T>>) {
        if poll.is_pending() {
            let now = self.now();
            let _ = self.blocked_since.compare_exchange(NOT, now, Ordering::Relaxed, Ordering::Relaxed);
        } else if self.blocked_since.load(Ordering::Relaxed) != NOT {
            self.blocked_since.store(NOT, Ordering::Relaxed);
        }
    }
}

/// The socket, noting when bytes move.
pub(super) struct WatchedSocket<S> {
    pub(super) socket: S,
    pub(super) activity: Arc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.socket).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.received();
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.activity.write_progress(&poll);
        poll
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write_vectored(cx, pieces);
        self.activity.write_progress(&poll);
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.socket).poll_flush(cx);
        if let Poll::Ready(Ok(())) = poll {
            self.activity.flushed();
        }
        poll
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

//! The output of a container, as a stream that can be cut off from outside.
//!
//! An engine (20.10 and 26.1, measured) neither kills nor removes a container whose attached output nobody reads: `kill`, `stop` and
//! `remove` just do not answer until the connection is closed. So the connection stays in our hands, not the reader's.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use futures::stream::{BoxStream, Stream, StreamExt};
use futures::task::AtomicWaker;
use gantry_domain::log::LogStream;

use super::engine::EngineFailure;
use crate::{ExecutorError, Output};

type Pieces = BoxStream<'static, Result<Output, ExecutorError>>;

/// Both ends of one container's output.
pub(super) fn output(attached: AttachContainerResults) -> (OutputReader, OutputCut) {
    let shared = Arc::new(Shared {
        pieces: Mutex::new(Some(attached.output.map(piece).boxed())),
        reader: AtomicWaker::new(),
    });
    (OutputReader(Arc::clone(&shared)), OutputCut(shared))
}

struct Shared {
    /// `None` once it ended or was cut.
    pieces: Mutex<Option<Pieces>>,
    reader: AtomicWaker,
}

impl Shared {
    fn close(&self) {
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(pieces);
    }
}

/// What the caller of `start` reads; dropping it closes the connection.
pub(super) struct OutputReader(Arc<Shared>);

impl Stream for OutputReader {
    type Item = Result<Output, ExecutorError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Registered first: a cut between the look and the registration would never wake us.
        self.0.reader.register(context.waker());
        let mut pieces = self.0.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = pieces.as_mut() else { return Poll::Ready(None) };
        let polled = open.poll_next_unpin(context);
        if matches!(polled, Poll::Ready(None)) {
            *pieces = None;
        }
        polled
    }
}

impl Drop for OutputReader {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Ends the output: the reader finds its end, the engine loses its listener, and what was not yet read is lost.
#[derive(Clone)]
pub(super) struct OutputCut(Arc<Shared>);

impl OutputCut {
    pub fn cut(&self) {
        self.0.close();
        self.0.reader.wake();
    }
}

fn piece(piece: Result<LogOutput, Error>) -> Result<Output, ExecutorError> {
    match piece {
        Ok(LogOutput::StdOut { message }) => Ok(Output { stream: LogStream::Stdout, bytes: message }),
        Ok(LogOutput::StdErr { message }) => Ok(Output { stream: LogStream::Stderr, bytes: message }),
        // What bollard makes of the rest of a frame whose connection broke.
        Ok(LogOutput::Console { .. } | LogOutput::StdIn { .. }) => Err(ExecutorError::Infrastructure(
            "the Docker engine broke off the container's output".to_owned(),
        )),
        Err(error) => Err(EngineFailure::new("send the container's output", error).infrastructure()),
    }
}

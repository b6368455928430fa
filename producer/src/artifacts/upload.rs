//! The body of an upload on its way from the connection to the thread that unpacks it: a bounded channel, so that a
//! slow disk slows the worker and fills no memory.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use futures::future::ready;
use gantry_blobs::{BlobError, BlobKey, Blobs};
use gantry_reports::{ArchiveError, ArchiveLimits, unpack};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::packer::{Packed, Packer};
use crate::error::{ApiError, ApiResult};
use crate::extract::json::broken_body;

/// Pieces of the body under way.
const UNDER_WAY: usize = 4;
/// How long the rest of a refused upload is read before it is answered all the same.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of reading an upload.
pub enum Upload {
    Taken(Packed),
    /// Nothing of it may be kept; the sentence says why.
    Refused(String),
}

/// One step of a body. A channel that ends without `End` belongs to a request that went away.
enum Piece {
    Bytes(Bytes),
    End,
}

/// Reads the tar in `body` into a blob that is not visible yet.
pub async fn take(
    body: Body,
    blobs: Arc<dyn Blobs>,
    key: BlobKey,
    limits: ArchiveLimits,
) -> ApiResult<Upload> {
    let (pieces, receiver) = mpsc::channel(UNDER_WAY);
    let runtime = Handle::current();
    let unpacking = tokio::task::spawn_blocking(move || {
        let mut packer = Packer::new(runtime, blobs, key);
        unpack(Pieces { receiver, rest: Bytes::new(), ended: false }, &limits, &mut packer)?;
        packer.finish().map_err(|error| ArchiveError::Sink(io::Error::other(error)))
    });
    let pumped = pump(body, pieces).await;
    let unpacked = unpacking
        .await
        .map_err(|error| ApiError::internal(format!("unpacking artifacts ended early: {error}")))?;
    match (unpacked, pumped) {
        // What was wrong with the archive is known, however the rest of the body fared.
        (Err(error), _) if !matches!(error, ArchiveError::Read(_) | ArchiveError::Sink(_)) => {
            Ok(Upload::Refused(error.to_string()))
        }
        (Err(ArchiveError::Sink(error)), _) => Err(storage_failure(error)),
        (_, Err(broken)) => Err(broken),
        (Err(error), Ok(())) => Err(ApiError::internal(error.to_string())),
        (Ok(packed), Ok(())) => Ok(Upload::Taken(packed)),
    }
}

/// Hands the body on. After the unpacking gave up, reads on for a while, so that the worker gets to read its answer:
/// a connection closed on a peer that still sends may take the answer with it.
async fn pump(body: Body, pieces: mpsc::Sender<Piece>) -> ApiResult<()> {
    let mut stream = body.into_data_stream();
    while let Some(next) = stream.next().await {
        let bytes = next.map_err(|error| broken_body(&error))?;
        if pieces.send(Piece::Bytes(bytes)).await.is_err() {
            let rest = stream.take_while(|next| ready(next.is_ok())).for_each(|_| ready(()));
            // However that ends, the unpacking has its reason.
            let _ = timeout(PATIENCE, rest).await;
            return Ok(());
        }
    }
    // Nobody listens any more when the unpacking failed, which tells its own story.
    let _ = pieces.send(Piece::End).await;
    Ok(())
}

fn storage_failure(error: io::Error) -> ApiError {
    match error.downcast::<BlobError>() {
        Ok(error) => error.into(),
        Err(error) => BlobError::Unavailable(error.to_string()).into(),
    }
}

/// The receiving end as a reader. Blocks: only for threads that may.
struct Pieces {
    receiver: mpsc::Receiver<Piece>,
    rest: Bytes,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.rest = bytes,
                Some(Piece::End) => self.ended = true,
                None => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the upload was cut off"));
                }
            }
        }
        let length = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

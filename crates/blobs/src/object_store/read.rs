//! Reading: ranges that must fit, and streams in pieces of a useful size.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use ::object_store::path::Path;
use ::object_store::{GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore, ObjectStoreExt as _};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};

use super::error::{failed, refused};
use crate::BlobError;

/// Large enough that the hop to a blocking thread does not count, small enough for many streams at once.
const PIECE: usize = 256 << 10;

/// The part of an object that was asked for, not read yet; `None` for an empty range of an object that is there.
pub(super) async fn open(
    store: &dyn ObjectStore,
    path: &Path,
    range: Range<u64>,
) -> Result<Option<GetResult>, BlobError> {
    if range.start >= range.end {
        let size = store.head(path).await.map_err(refused)?.size;
        let fits = range.start == range.end && range.end <= size;
        return if fits { Ok(None) } else { Err(BlobError::OutOfRange { size }) };
    }
    let wanted = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
    match store.get_opts(path, wanted).await {
        Ok(found) if found.range == range => Ok(Some(found)),
        Ok(found) => Err(BlobError::OutOfRange { size: found.meta.size }),
        Err(error) => Err(match (refused(error), store.head(path).await) {
            (BlobError::Unavailable(_), Ok(object)) if object.size < range.end => {
                BlobError::OutOfRange { size: object.size }
            }
            (error, _) => error,
        }),
    }
}

pub(super) fn pieces(found: GetResult) -> BoxStream<'static, Result<Bytes, BlobError>> {
    match found.payload {
        // The library's own stream of a file makes pieces of 8 KiB, each with a hop to a blocking thread.
        GetResultPayload::File(file, _) => file_pieces(Arc::new(file), found.range),
        GetResultPayload::Stream(stream) => stream
            .map_ok(|bytes| futures::stream::iter(cut(bytes).map(Ok)))
            .try_flatten()
            .map_err(refused)
            .boxed(),
    }
}

fn cut(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let length = bytes.len().min(PIECE);
        (length > 0).then(|| bytes.split_to(length))
    })
}

fn file_pieces(file: Arc<File>, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
    futures::stream::try_unfold((file, range), |(file, rest)| async move {
        if rest.is_empty() {
            return Ok(None);
        }
        let length = (rest.end - rest.start).min(PIECE as u64);
        let (file, piece) = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; length as usize];
            file.read_exact_at(&mut piece, rest.start)?;
            io::Result::Ok((file, piece))
        })
        .await
        .map_err(|error| BlobError::Unavailable(error.to_string()))?
        .map_err(failed)?;
        Ok(Some((Bytes::from(piece), (file, rest.start + length..rest.end))))
    })
    .boxed()
}

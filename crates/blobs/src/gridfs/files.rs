//! Files and their chunks, and the list of those that may have to go.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, RawDocument, doc};

use super::calls::{call, insert};
use super::error::corrupt;
use super::index::{Content, Entry};
use super::layout::Layout;
use crate::{BlobError, BlobKey};

/// What GridFS uses everywhere: small enough that a short range costs little.
pub(super) const CHUNK: usize = 255 * 1024;
/// Chunks in one round trip: about a megabyte.
pub(super) const TOGETHER: usize = 4;

impl Layout {
    /// Says that this file may have to be removed. Comes before its first chunk, and before the index lets it go.
    pub(super) async fn write_down(&self, key: &str, file: ObjectId) -> Result<(), BlobError> {
        let note = doc! { "_id": file, "key": key, "at": DateTime::now() };
        insert(|| async { self.garbage.insert_one(&note).await }).await?;
        Ok(())
    }

    pub(super) async fn strike_out(&self, file: ObjectId) -> Result<(), BlobError> {
        call(|| async { self.garbage.delete_one(doc! { "_id": file }).await }).await?;
        Ok(())
    }

    /// Removes a file that nobody can find. What failed can be done again.
    pub(super) async fn discard(&self, file: ObjectId) -> Result<(), BlobError> {
        self.empty(file).await?;
        self.strike_out(file).await
    }

    pub(super) async fn empty(&self, file: ObjectId) -> Result<(), BlobError> {
        call(|| async { self.files.delete_one(doc! { "_id": file }).await }).await?;
        call(|| async { self.chunks.delete_many(doc! { "files_id": file }).await }).await?;
        Ok(())
    }

    /// Appends chunks, all but the file's last one of [`CHUNK`] bytes, from number `first`.
    pub(super) async fn append(&self, file: ObjectId, first: u32, bytes: &[u8]) -> Result<u32, BlobError> {
        let chunks: Vec<Document> = (first..)
            .zip(bytes.chunks(CHUNK))
            .map(|(n, bytes)| {
                let data = Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() };
                doc! { "_id": ObjectId::new(), "files_id": file, "n": i64::from(n), "data": data }
            })
            .collect();
        // Nobody else writes this file: a chunk that is there already is this one.
        insert(|| async { self.chunks.insert_many(&chunks).ordered(false).await }).await?;
        Ok(first + chunks.len() as u32)
    }

    /// Describes a file whose chunks are all there.
    pub(super) async fn describe(&self, key: &BlobKey, file: ObjectId, size: u64) -> Result<(), BlobError> {
        let description = doc! {
            "_id": file,
            "length": size as i64,
            "chunkSize": CHUNK as i32,
            "uploadDate": DateTime::now(),
            "filename": key.to_string(),
        };
        insert(|| async { self.files.insert_one(&description).await }).await?;
        Ok(())
    }

    /// The bytes of a range that lies inside, in pieces; [`BlobError::NotFound`] when chunks are missing.
    pub(super) fn pieces(
        self: &Arc<Self>,
        entry: Entry,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes, BlobError>> {
        let chunk_size = match entry.content {
            _ if range.is_empty() => return futures::stream::empty().boxed(),
            Content::Inline(bytes) => {
                // It is short: its size fits.
                let piece = bytes.slice(range.start as usize..range.end as usize);
                return futures::stream::iter([Ok(piece)]).boxed();
            }
            Content::File { chunk_size } => u64::from(chunk_size),
        };
        let (layout, file) = (self.clone(), entry.version);
        let rest = range.start..range.end;
        futures::stream::try_unfold(rest, move |rest| {
            let layout = layout.clone();
            async move {
                if rest.is_empty() {
                    return Ok(None);
                }
                let first = rest.start / chunk_size;
                let last = ((rest.end - 1) / chunk_size).min(first + TOGETHER as u64 - 1);
                let until = rest.end.min((last + 1) * chunk_size);
                let found = layout.chunks(file, first..last + 1).await?;
                let pieces = cut(found, chunk_size, first, rest.start..until)?;
                Ok::<_, BlobError>(Some((futures::stream::iter(pieces.into_iter().map(Ok)), until..rest.end)))
            }
        })
        .try_flatten()
        .boxed()
    }

    /// These chunks of a file, all of them.
    async fn chunks(&self, file: ObjectId, numbers: Range<u64>) -> Result<Vec<Bytes>, BlobError> {
        let chunks = Self::raw(&self.chunks);
        let wanted =
            doc! { "files_id": file, "n": { "$gte": numbers.start as i64, "$lt": numbers.end as i64 } };
        let only = doc! { "_id": 0, "n": 1, "data": 1 };
        let find = || async {
            let found = chunks.find(wanted.clone()).sort(doc! { "n": 1 }).projection(only.clone()).await?;
            found.try_collect::<Vec<_>>().await
        };
        let found = call(find).await?;
        let mut all = Vec::with_capacity(found.len());
        for (number, document) in numbers.clone().zip(&found) {
            let (n, data) = chunk(document)?;
            if n != number as i64 {
                return Err(BlobError::NotFound);
            }
            all.push(data);
        }
        if (all.len() as u64) < numbers.end - numbers.start { Err(BlobError::NotFound) } else { Ok(all) }
    }
}

fn chunk(document: &RawDocument) -> Result<(i64, Bytes), BlobError> {
    // Other writers of GridFS number chunks with 32 bits.
    let n = document.get("n").map_err(corrupt)?;
    let n = n.and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from)));
    let data = document.get_binary("data").map_err(corrupt)?;
    Ok((n.ok_or_else(|| corrupt("a chunk has no number"))?, Bytes::copy_from_slice(data.bytes)))
}

/// The part of consecutive chunks, the first of them number `first`, that lies in `range`.
fn cut(chunks: Vec<Bytes>, chunk_size: u64, first: u64, range: Range<u64>) -> Result<Vec<Bytes>, BlobError> {
    let mut pieces = Vec::with_capacity(chunks.len());
    for (number, chunk) in (first..).zip(chunks) {
        let begins = number * chunk_size;
        let from = range.start.saturating_sub(begins);
        let to = range.end.saturating_sub(begins).min(chunk_size);
        if to > chunk.len() as u64 {
            return Err(corrupt("a chunk is too short"));
        }
        pieces.push(chunk.slice(from as usize..to as usize));
    }
    Ok(pieces)
}

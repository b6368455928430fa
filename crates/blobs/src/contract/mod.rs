//! What every backend must do, written once: `contract!(name: start)` runs all of it against what `start` gives, a
//! pair of blobs and whatever must live as long as they do.

pub(crate) mod reading;
pub(crate) mod writing;

use bytes::Bytes;
use futures::TryStreamExt as _;
use gantry_domain::id::{OrganizationId, RunId};

use crate::{BlobError, BlobKey, BlobKind, Blobs};

macro_rules! contract {
    ($backend:ident: $start:path) => {
        mod $backend {
            $crate::contract::contract!(@tests $start;
                writing::a_blob_is_there_as_a_whole_or_not_at_all,
                writing::a_dropped_writer_leaves_nothing,
                writing::a_blob_with_a_hole_cannot_be_finished,
                writing::a_blob_of_any_size_reads_back,
                writing::writing_again_replaces_the_whole_blob,
                writing::a_dropped_rewrite_leaves_the_old_blob,
                writing::one_of_many_writers_wins_whole,
                writing::every_part_of_a_key_counts,
                writing::deleting_a_run_takes_all_of_it_and_nothing_else,
                reading::a_range_is_read_exactly,
                reading::a_range_beyond_the_end_is_refused,
                reading::a_missing_blob_is_not_found,
                reading::a_large_blob_streams_in_bounded_pieces,
                reading::a_stream_never_mixes_two_versions,
                reading::a_healthy_backend_passes_its_check,
            );
        }
    };
    (@tests $start:path; $($subject:ident::$behaviour:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            let (blobs, _alive) = $start().await;
            $crate::contract::$subject::$behaviour(&blobs).await;
        }
    )*};
}
pub(crate) use contract;

fn key() -> BlobKey {
    BlobKey { organization: OrganizationId::new(), run: RunId::new(), attempt: 1, kind: BlobKind::Log }
}

/// Bytes in which every position and every seed shows.
fn pattern(seed: u8, length: usize) -> Bytes {
    (0..length).map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ (at >> 13) as u8 ^ seed).collect()
}

async fn write(blobs: &impl Blobs, key: &BlobKey, content: &Bytes) {
    let mut writer = blobs.write(key).await.unwrap();
    for piece in content.chunks(300_000) {
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    assert_eq!(writer.finish().await, Ok(content.len() as u64));
}

async fn read(blobs: &impl Blobs, key: &BlobKey) -> Result<Bytes, BlobError> {
    let size = blobs.size(key).await?;
    blobs.read(key, 0..size).await
}

async fn read_stream(
    blobs: &impl Blobs,
    key: &BlobKey,
    range: std::ops::Range<u64>,
) -> Result<Bytes, BlobError> {
    let pieces: Vec<Bytes> = blobs.stream(key, range).await?.try_collect().await?;
    Ok(pieces.concat().into())
}

/// `assert_eq!` would print megabytes.
fn assert_same(found: &Bytes, expected: &Bytes) {
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "same length, other bytes");
}

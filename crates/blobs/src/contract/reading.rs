//! What a reader gets.

use futures::StreamExt as _;

use super::{assert_same, key, pattern, read_stream, write};
use crate::{BlobError, Blobs};

const MB: usize = 1 << 20;

pub(crate) async fn a_range_is_read_exactly(blobs: &impl Blobs) {
    let (key, content) = (key(), pattern(1, 2 * MB + 100));
    write(blobs, &key, &content).await;
    let end = content.len() as u64;
    for range in [0..1, 0..end, 1..end - 1, end - 1..end, 700_000..1_900_000, 0..0, 500..500, end..end] {
        let expected = content.slice(range.start as usize..range.end as usize);
        assert_same(&blobs.read(&key, range.clone()).await.unwrap(), &expected);
        assert_same(&read_stream(blobs, &key, range).await.unwrap(), &expected);
    }
}

pub(crate) async fn a_range_beyond_the_end_is_refused(blobs: &impl Blobs) {
    let key = key();
    write(blobs, &key, &pattern(2, 100)).await;
    let beyond = BlobError::OutOfRange { size: 100 };
    #[expect(clippy::reversed_empty_ranges, reason = "one of the ranges to be refused")]
    for range in [0..101, 99..101, 100..101, 101..101, 500..600, 0..u64::MAX, 60..50] {
        assert_eq!(blobs.read(&key, range.clone()).await, Err(beyond.clone()), "{range:?}");
        assert_eq!(read_stream(blobs, &key, range.clone()).await, Err(beyond.clone()), "{range:?}");
    }
    assert_eq!(blobs.read(&key, 0..100).await, Ok(pattern(2, 100)));
}

pub(crate) async fn a_missing_blob_is_not_found(blobs: &impl Blobs) {
    let key = key();
    assert_eq!(blobs.size(&key).await, Err(BlobError::NotFound));
    for range in [0..0, 0..1] {
        assert_eq!(blobs.read(&key, range.clone()).await, Err(BlobError::NotFound));
        assert_eq!(read_stream(blobs, &key, range).await, Err(BlobError::NotFound));
    }
}

pub(crate) async fn a_large_blob_streams_in_bounded_pieces(blobs: &impl Blobs) {
    let (key, content) = (key(), pattern(3, 50_000_000));
    write(blobs, &key, &content).await;
    let mut stream = blobs.stream(&key, 5..content.len() as u64).await.unwrap();
    let mut at = 5;
    while let Some(piece) = stream.next().await {
        let piece = piece.unwrap();
        assert!((1..=MB).contains(&piece.len()), "a piece of {} bytes", piece.len());
        assert_same(&piece, &content.slice(at..at + piece.len()));
        at += piece.len();
    }
    assert_eq!(at, content.len());
}

pub(crate) async fn a_stream_never_mixes_two_versions(blobs: &impl Blobs) {
    let (key, old) = (key(), pattern(4, 4 * MB));
    write(blobs, &key, &old).await;
    let mut stream = blobs.stream(&key, 0..old.len() as u64).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert_same(&first, &old.slice(..first.len()));
    write(blobs, &key, &pattern(5, 4 * MB)).await;
    blobs.delete_run(key.organization, key.run).await.unwrap();
    let mut at = first.len();
    while let Some(piece) = stream.next().await {
        let Ok(piece) = piece else { return };
        assert_same(&piece, &old.slice(at..at + piece.len()));
        at += piece.len();
    }
    assert_eq!(at, old.len(), "a stream that does not fail is complete");
}

pub(crate) async fn a_healthy_backend_passes_its_check(blobs: &impl Blobs) {
    assert_eq!(blobs.check().await, Ok(()));
}

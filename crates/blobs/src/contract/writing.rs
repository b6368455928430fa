//! What a blob is while and after it is written.

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::join_all;
use gantry_domain::id::{OrganizationId, RunId};

use super::{assert_same, key, pattern, read, read_stream, write};
use crate::{BlobError, BlobKey, BlobKind, Blobs};

const MB: usize = 1 << 20;

pub(crate) async fn a_blob_is_there_as_a_whole_or_not_at_all(blobs: &impl Blobs) {
    for length in [10, 5 * MB] {
        let (key, content) = (key(), pattern(1, length));
        let mut writer = blobs.write(&key).await.unwrap();
        assert_eq!(blobs.size(&key).await, Err(BlobError::NotFound));
        writer.write(content.clone()).await.unwrap();
        assert_eq!(blobs.size(&key).await, Err(BlobError::NotFound));
        assert_eq!(blobs.read(&key, 0..1).await, Err(BlobError::NotFound));
        assert_eq!(writer.finish().await, Ok(length as u64));
        assert_same(&read(blobs, &key).await.unwrap(), &content);
    }
}

pub(crate) async fn a_dropped_writer_leaves_nothing(blobs: &impl Blobs) {
    for length in [0, 10, 5 * MB] {
        let key = key();
        let mut writer = blobs.write(&key).await.unwrap();
        writer.write(pattern(2, length)).await.unwrap();
        drop(writer);
        assert_eq!(blobs.size(&key).await, Err(BlobError::NotFound));
        write(blobs, &key, &pattern(3, 100)).await;
        assert_same(&read(blobs, &key).await.unwrap(), &pattern(3, 100));
    }
}

pub(crate) async fn a_blob_with_a_hole_cannot_be_finished(blobs: &impl Blobs) {
    let (key, content) = (key(), pattern(11, 5 * MB));
    let mut writer = blobs.write(&key).await.unwrap();
    let cancelled = writer.write(content.clone()).now_or_never().is_none();
    if cancelled {
        assert!(writer.write(content).await.is_err());
        assert!(writer.finish().await.is_err());
        assert_eq!(blobs.size(&key).await, Err(BlobError::NotFound));
    } else {
        writer.finish().await.unwrap();
        assert_same(&read(blobs, &key).await.unwrap(), &content);
    }
}

pub(crate) async fn a_blob_of_any_size_reads_back(blobs: &impl Blobs) {
    for length in [0, 1, MB - 1, MB, MB + 1, 3 * MB, 3 * MB + 17] {
        let (key, content) = (key(), pattern(4, length));
        write(blobs, &key, &content).await;
        assert_eq!(blobs.size(&key).await, Ok(length as u64));
        assert_same(&read(blobs, &key).await.unwrap(), &content);
        assert_same(&read_stream(blobs, &key, 0..length as u64).await.unwrap(), &content);
    }
}

pub(crate) async fn writing_again_replaces_the_whole_blob(blobs: &impl Blobs) {
    let key = key();
    for (seed, length) in [(5, 4 * MB), (6, 10), (7, 0), (8, 2 * MB)] {
        let content = pattern(seed, length);
        write(blobs, &key, &content).await;
        assert_same(&read(blobs, &key).await.unwrap(), &content);
    }
}

pub(crate) async fn a_dropped_rewrite_leaves_the_old_blob(blobs: &impl Blobs) {
    let (key, old) = (key(), pattern(9, 1000));
    write(blobs, &key, &old).await;
    let mut writer = blobs.write(&key).await.unwrap();
    writer.write(pattern(10, 3 * MB)).await.unwrap();
    assert_same(&read(blobs, &key).await.unwrap(), &old);
    drop(writer);
    assert_same(&read(blobs, &key).await.unwrap(), &old);
}

pub(crate) async fn one_of_many_writers_wins_whole(blobs: &impl Blobs) {
    let key = key();
    let contents: Vec<Bytes> = (0..8).map(|seed| pattern(seed, 2 * MB + usize::from(seed))).collect();
    join_all(contents.iter().map(|content| write(blobs, &key, content))).await;
    let winner = read(blobs, &key).await.unwrap();
    let expected = &contents[winner.len() - 2 * MB];
    assert_same(&winner, expected);
}

pub(crate) async fn every_part_of_a_key_counts(blobs: &impl Blobs) {
    let one = key();
    let keys = [
        one.clone(),
        BlobKey { organization: OrganizationId::new(), ..one.clone() },
        BlobKey { run: RunId::new(), ..one.clone() },
        BlobKey { attempt: 11, ..one.clone() },
        BlobKey { kind: BlobKind::Artifacts, ..one.clone() },
        BlobKey { kind: BlobKind::ArtifactIndex, ..one },
    ];
    for (seed, key) in (20..).zip(&keys) {
        assert_eq!(blobs.size(key).await, Err(BlobError::NotFound));
        write(blobs, key, &pattern(seed, 1000)).await;
    }
    for (seed, key) in (20..).zip(&keys) {
        assert_same(&read(blobs, key).await.unwrap(), &pattern(seed, 1000));
    }
}

pub(crate) async fn deleting_a_run_takes_all_of_it_and_nothing_else(blobs: &impl Blobs) {
    let one = key();
    let doomed = [
        one.clone(),
        BlobKey { attempt: 2, ..one.clone() },
        BlobKey { kind: BlobKind::Artifacts, ..one.clone() },
        BlobKey { kind: BlobKind::ArtifactIndex, ..one.clone() },
    ];
    let spared = [
        BlobKey { organization: OrganizationId::new(), ..one.clone() },
        BlobKey { run: RunId::new(), ..one.clone() },
    ];
    for key in doomed.iter().chain(&spared) {
        write(blobs, key, &pattern(30, 100)).await;
    }
    for _ in 0..2 {
        assert_eq!(blobs.delete_run(one.organization, one.run).await, Ok(()));
        for key in &doomed {
            assert_eq!(blobs.size(key).await, Err(BlobError::NotFound));
        }
    }
    for key in &spared {
        assert_same(&read(blobs, key).await.unwrap(), &pattern(30, 100));
    }
    write(blobs, &one, &pattern(31, 100)).await;
    assert_same(&read(blobs, &one).await.unwrap(), &pattern(31, 100));
    assert_eq!(blobs.delete_run(OrganizationId::new(), RunId::new()).await, Ok(()));
}

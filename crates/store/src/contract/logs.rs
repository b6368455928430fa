use bytes::Bytes;
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::log::{LogChunk, LogStream, MAX_CHUNK_BYTES, Segment};

use super::fixtures::*;
use crate::{Append, LogKey, Stores};

fn key() -> LogKey {
    LogKey { organization: OrganizationId::new(), run: RunId::new(), attempt: 1 }
}

fn chunk(offset: u64, text: &[u8]) -> LogChunk {
    let half = text.len() / 2;
    let segment =
        |stream, length: usize, seconds| Segment { stream, time: at(seconds), length: length as u32 };
    let mut segments = vec![segment(LogStream::Stderr, text.len() - half, 5)];
    if half > 0 {
        segments.insert(0, segment(LogStream::Stdout, half, 9));
    }
    LogChunk::new(offset, segments, Bytes::copy_from_slice(text)).unwrap()
}

pub async fn chunks_are_read_back_as_appended(stores: Stores) {
    let key = key();
    assert_eq!(stores.logs.end(key).await.unwrap(), 0);
    assert_eq!(stores.logs.read(key, 0, 100).await.unwrap(), []);
    let noise: Vec<u8> =
        (0..MAX_CHUNK_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let mut chunks = Vec::new();
    for text in [&b"hello\n"[..], b"\xff\x00\n", &noise, &b"line\n".repeat(9000), b"x"] {
        let next = chunk(chunks.last().map_or(0, LogChunk::end), text);
        let stored = stores.logs.append(key, &next).await.unwrap();
        assert_eq!(stored, Append::Stored { end: next.end() });
        chunks.push(next);
    }
    assert_eq!(stores.logs.end(key).await.unwrap(), chunks[4].end());
    assert_eq!(stores.logs.read(key, 0, usize::MAX).await.unwrap(), chunks);
    assert_eq!(stores.logs.read(key, 0, 1).await.unwrap(), chunks[..1]);
    assert_eq!(stores.logs.read(key, 0, 10).await.unwrap(), chunks[..3]);
    assert_eq!(stores.logs.read(key, chunks[4].end(), 10).await.unwrap(), []);
    assert_eq!(stores.logs.read(key, u64::MAX, 10).await.unwrap(), []);
}

pub async fn the_same_chunk_again_is_fine(stores: Stores) {
    let key = key();
    stores.logs.append(key, &chunk(0, b"hello ")).await.unwrap();
    stores.logs.append(key, &chunk(6, b"world")).await.unwrap();
    let there = Append::AlreadyThere { end: 11 };
    assert_eq!(stores.logs.append(key, &chunk(6, b"world")).await.unwrap(), there);
    assert_eq!(stores.logs.append(key, &chunk(0, b"hello ")).await.unwrap(), there);
    assert_eq!(stores.logs.append(key, &chunk(3, b"lo wor")).await.unwrap(), there, "cut otherwise");
    assert_eq!(stores.logs.read(key, 0, 100).await.unwrap(), [chunk(0, b"hello "), chunk(6, b"world")]);
}

pub async fn a_gap_is_refused(stores: Stores) {
    let key = key();
    assert_eq!(stores.logs.append(key, &chunk(5, b"x")).await.unwrap(), Append::Gap { end: 0 });
    stores.logs.append(key, &chunk(0, b"hello")).await.unwrap();
    assert_eq!(stores.logs.append(key, &chunk(6, b"x")).await.unwrap(), Append::Gap { end: 5 });
    assert_eq!(stores.logs.end(key).await.unwrap(), 5);
}

pub async fn other_bytes_are_refused(stores: Stores) {
    let key = key();
    stores.logs.append(key, &chunk(0, b"hello")).await.unwrap();
    let differs = Append::Differs { end: 5 };
    assert_eq!(stores.logs.append(key, &chunk(0, b"hallo")).await.unwrap(), differs);
    assert_eq!(stores.logs.append(key, &chunk(4, b"a")).await.unwrap(), differs);
    assert_eq!(stores.logs.append(key, &chunk(3, b"lo!")).await.unwrap(), differs, "overlaps the end");
    assert_eq!(stores.logs.read(key, 0, 100).await.unwrap(), [chunk(0, b"hello")]);
}

pub async fn reading_begins_inside_a_chunk(stores: Stores) {
    let key = key();
    stores.logs.append(key, &chunk(0, b"hello ")).await.unwrap();
    stores.logs.append(key, &chunk(6, b"world")).await.unwrap();
    for from in 0..11 {
        let read = stores.logs.read(key, from, 100).await.unwrap();
        assert_eq!(read[0].offset, from);
        let bytes: Vec<u8> = read.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect();
        assert_eq!(bytes, b"hello world"[from as usize..]);
    }
    let cut = chunk(6, b"world").from_offset(7).unwrap();
    assert_eq!(stores.logs.read(key, 7, 100).await.unwrap(), [cut]);
}

pub async fn attempts_and_tenants_have_their_own_log(stores: Stores) {
    let first = key();
    let second = LogKey { attempt: 2, ..first };
    let foreign = LogKey { organization: OrganizationId::new(), ..first };
    stores.logs.append(first, &chunk(0, b"one")).await.unwrap();
    assert_eq!(stores.logs.append(second, &chunk(0, b"second")).await.unwrap(), Append::Stored { end: 6 });
    assert_eq!(stores.logs.end(first).await.unwrap(), 3);
    assert_eq!(stores.logs.end(foreign).await.unwrap(), 0);
    assert_eq!(stores.logs.read(foreign, 0, 100).await.unwrap(), []);
}

pub async fn a_cleared_log_is_empty(stores: Stores) {
    let first = key();
    let second = LogKey { attempt: 2, ..first };
    for key in [first, second] {
        stores.logs.append(key, &chunk(0, b"one")).await.unwrap();
        stores.logs.append(key, &chunk(3, b"two")).await.unwrap();
    }
    stores.logs.clear(first).await.unwrap();
    stores.logs.clear(first).await.unwrap();
    assert_eq!(stores.logs.end(first).await.unwrap(), 0);
    assert_eq!(stores.logs.end(second).await.unwrap(), 6);
}

//! A log chunk's body: one byte that says how it is packed, then the segments as variable-length numbers (how many; for
//! each its stream, time since the one before, length), then the text.

use bytes::Bytes;
use gantry_domain::log::{LogChunk, LogStream, MAX_CHUNK_BYTES, MAX_CHUNK_SEGMENTS, Segment};
use gantry_domain::time::Timestamp;

use crate::{Result, StoreError};

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Below this, compressing costs more than it saves.
const WORTH_COMPRESSING: usize = 512;
/// Text and the longest form of every segment.
const MAX_UNPACKED: usize = MAX_CHUNK_BYTES + MAX_CHUNK_SEGMENTS * 16 + 16;

pub(crate) fn encode_chunk(chunk: &LogChunk) -> Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(1 + chunk.segments().len() * 6 + 4 + chunk.bytes().len());
    plain.push(PLAIN);
    put(&mut plain, chunk.segments().len() as u64);
    let mut before = 0_i64;
    for segment in chunk.segments() {
        let millis = segment.time.as_millis();
        plain.push(match segment.stream {
            LogStream::Stdout => 0,
            LogStream::Stderr => 1,
            LogStream::System => 2,
        });
        put(&mut plain, zigzag(millis.wrapping_sub(before)));
        put(&mut plain, segment.length.into());
        before = millis;
    }
    plain.extend_from_slice(chunk.bytes());
    if plain.len() < WORTH_COMPRESSING {
        return Ok(plain);
    }
    let mut packed = vec![0; 1 + zstd::zstd_safe::compress_bound(plain.len())];
    packed[0] = ZSTD;
    let size = zstd::bulk::compress_to_buffer(&plain[1..], &mut packed[1..], 1)
        .map_err(|error| StoreError::Corrupt(format!("a log chunk cannot be compressed: {error}")))?;
    packed.truncate(1 + size);
    Ok(if packed.len() < plain.len() { packed } else { plain })
}

pub(crate) fn decode_chunk(offset: u64, body: &[u8]) -> Result<LogChunk> {
    let bad = |what: &str| StoreError::Corrupt(format!("a log chunk at byte {offset}: {what}"));
    let unpacked: Bytes = match body.split_first() {
        Some((&PLAIN, rest)) => Bytes::copy_from_slice(rest),
        Some((&ZSTD, rest)) => {
            zstd::bulk::decompress(rest, MAX_UNPACKED).map_err(|error| bad(&error.to_string()))?.into()
        }
        Some((other, _)) => return Err(bad(&format!("packed in unknown way {other}"))),
        None => return Err(bad("empty")),
    };
    let mut rest = &unpacked[..];
    let cut_short = || bad("cut short");
    let count = take(&mut rest).ok_or_else(cut_short)?;
    let count = usize::try_from(count).ok().filter(|n| *n <= MAX_CHUNK_SEGMENTS).ok_or_else(cut_short)?;
    let mut segments = Vec::with_capacity(count);
    let mut before = 0_i64;
    for _ in 0..count {
        let (&stream, tail) = rest.split_first().ok_or_else(cut_short)?;
        rest = tail;
        let stream = match stream {
            0 => LogStream::Stdout,
            1 => LogStream::Stderr,
            2 => LogStream::System,
            other => return Err(bad(&format!("unknown stream {other}"))),
        };
        before = before.wrapping_add(unzigzag(take(&mut rest).ok_or_else(cut_short)?));
        let length = take(&mut rest).and_then(|n| u32::try_from(n).ok()).ok_or_else(cut_short)?;
        segments.push(Segment { stream, time: Timestamp::from_millis(before), length });
    }
    let text = unpacked.slice(unpacked.len() - rest.len()..);
    LogChunk::new(offset, segments, text).map_err(|error| bad(&error.to_string()))
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn put(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn take(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(segments: usize, text: &[u8]) -> LogChunk {
        let each = text.len() / segments;
        let mut list: Vec<_> = (0..segments)
            .map(|i| Segment {
                stream: [LogStream::Stdout, LogStream::Stderr, LogStream::System][i % 3],
                time: Timestamp::from_millis(1_767_225_600_000 + (i as i64 % 7) * 13 - 20),
                length: each as u32,
            })
            .collect();
        list[segments - 1].length += (text.len() - each * segments) as u32;
        LogChunk::new(77, list, Bytes::copy_from_slice(text)).unwrap()
    }

    #[test]
    fn a_chunk_survives_packing() {
        let noise: Vec<u8> =
            (0..MAX_CHUNK_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for chunk in [
            chunk(1, b"x"),
            chunk(3, b"hello\nworld\n\xff\x00"),
            chunk(MAX_CHUNK_SEGMENTS, &noise),
            chunk(17, &b"the same line again\n".repeat(5000)),
        ] {
            let body = encode_chunk(&chunk).unwrap();
            assert_eq!(decode_chunk(77, &body).unwrap(), chunk);
        }
    }

    #[test]
    fn text_gets_smaller() {
        let body = encode_chunk(&chunk(17, &b"the same line again\n".repeat(5000))).unwrap();
        assert!(body.len() < 2000, "{}", body.len());
    }

    #[test]
    fn damage_is_an_error() {
        let body = encode_chunk(&chunk(5, &b"some text ".repeat(200))).unwrap();
        for cut in 0..body.len() {
            assert!(matches!(decode_chunk(0, &body[..cut]), Err(StoreError::Corrupt(_))), "{cut}");
        }
        assert!(matches!(decode_chunk(0, &[9, 9, 9]), Err(StoreError::Corrupt(_))));
        let plain = encode_chunk(&chunk(2, b"abc")).unwrap();
        for cut in 0..plain.len() {
            assert!(matches!(decode_chunk(0, &plain[..cut]), Err(StoreError::Corrupt(_))), "{cut}");
        }
    }
}

//! A run's log: bytes in order, told apart by where they came from.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Where a piece of log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    Stdout,
    Stderr,
    /// Gantry's own lines: pull progress, why it ended.
    System,
}

/// A stretch of the log with one origin and one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub stream: LogStream,
    pub time: Timestamp,
    /// Bytes; segments follow one another without gaps.
    pub length: u32,
}

/// Bytes one chunk holds at most, before compression.
pub const MAX_CHUNK_BYTES: usize = 256 * 1024;
/// Segments one chunk holds at most.
pub const MAX_CHUNK_SEGMENTS: usize = 8192;

/// A piece of an attempt's log, as appended and stored. Invariant: the segments' lengths add up to the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Where the first byte stands in the attempt's log.
    pub offset: u64,
    segments: Vec<Segment>,
    bytes: bytes::Bytes,
}

/// Why bytes and segments are not a chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("a log chunk has 1 to {MAX_CHUNK_BYTES} bytes, not {0}")]
    Size(usize),
    #[error("a log chunk has 1 to {MAX_CHUNK_SEGMENTS} segments, not {0}")]
    Segments(usize),
    #[error("the segments add up to {segments} bytes, but there are {bytes}")]
    Lengths { segments: u64, bytes: usize },
}

impl LogChunk {
    pub fn new(offset: u64, segments: Vec<Segment>, bytes: bytes::Bytes) -> Result<Self, ChunkError> {
        if bytes.is_empty() || bytes.len() > MAX_CHUNK_BYTES {
            return Err(ChunkError::Size(bytes.len()));
        }
        if segments.is_empty()
            || segments.len() > MAX_CHUNK_SEGMENTS
            || segments.iter().any(|s| s.length == 0)
        {
            return Err(ChunkError::Segments(segments.len()));
        }
        let sum = segments.iter().map(|s| u64::from(s.length)).sum::<u64>();
        if sum != bytes.len() as u64 {
            return Err(ChunkError::Lengths { segments: sum, bytes: bytes.len() });
        }
        Ok(Self { offset, segments, bytes })
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub fn bytes(&self) -> &bytes::Bytes {
        &self.bytes
    }

    /// The offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Each segment with its bytes and the offset it begins at.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, Segment, bytes::Bytes)> + '_ {
        let mut at = 0_usize;
        self.segments.iter().map(move |segment| {
            let from = at;
            at += segment.length as usize;
            (self.offset + from as u64, *segment, self.bytes.slice(from..at))
        })
    }

    /// What of this chunk lies at or behind `offset`; `None` when all of it lies before.
    pub fn from_offset(self, offset: u64) -> Option<Self> {
        if offset <= self.offset {
            return Some(self);
        }
        if offset >= self.end() {
            return None;
        }
        let mut skip = usize::try_from(offset - self.offset).ok()?;
        let bytes = self.bytes.slice(skip..);
        let mut segments = Vec::with_capacity(self.segments.len());
        for mut segment in self.segments {
            let cut = skip.min(segment.length as usize);
            skip -= cut;
            segment.length -= cut as u32;
            if segment.length > 0 {
                segments.push(segment);
            }
        }
        Some(Self { offset, segments, bytes })
    }

    /// What of this chunk lies before `end`; `None` when nothing does.
    pub fn until_offset(mut self, end: u64) -> Option<Self> {
        if end >= self.end() {
            return Some(self);
        }
        let length = usize::try_from(end.checked_sub(self.offset)?).ok().filter(|length| *length > 0)?;
        self.bytes.truncate(length);
        let mut room = length;
        self.segments.retain_mut(|segment| {
            segment.length = segment.length.min(u32::try_from(room).unwrap_or(u32::MAX));
            room -= segment.length as usize;
            segment.length > 0
        });
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(stream: LogStream, length: u32) -> Segment {
        Segment { stream, time: Timestamp::EPOCH, length }
    }

    #[test]
    fn a_chunk_cut_anywhere_keeps_bytes_and_origins_together() {
        let segments =
            vec![segment(LogStream::Stdout, 3), segment(LogStream::Stderr, 2), segment(LogStream::Stdout, 4)];
        let chunk = LogChunk::new(100, segments, bytes::Bytes::from_static(b"abcdeFGHI")).unwrap();
        let whole: Vec<_> = chunk
            .pieces()
            .flat_map(|(at, s, bytes)| {
                bytes
                    .into_iter()
                    .enumerate()
                    .map(move |(i, byte)| (at + i as u64, s.stream, byte))
                    .collect::<Vec<_>>()
            })
            .collect();
        for from in 100..109 {
            let cut = chunk.clone().from_offset(from).unwrap();
            assert_eq!(cut.end(), 109);
            let rest: Vec<_> = cut
                .pieces()
                .flat_map(|(at, s, b)| {
                    b.into_iter()
                        .enumerate()
                        .map(move |(i, byte)| (at + i as u64, s.stream, byte))
                        .collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(rest, whole[(from - 100) as usize..]);
        }
        for end in 101..=109 {
            let cut = chunk.clone().until_offset(end).unwrap();
            assert_eq!((cut.offset, cut.end()), (100, end));
            assert!(LogChunk::new(100, cut.segments().to_vec(), cut.bytes().clone()).is_ok());
            let bytes = cut.pieces().flat_map(|(at, s, b)| {
                let pieces = b.into_iter().enumerate();
                pieces.map(move |(i, byte)| (at + i as u64, s.stream, byte)).collect::<Vec<_>>()
            });
            assert_eq!(bytes.collect::<Vec<_>>(), whole[..(end - 100) as usize]);
        }
        assert_eq!(chunk.clone().until_offset(100), None);
        assert_eq!(chunk.from_offset(109), None);
    }

    #[test]
    fn segments_must_add_up() {
        let bytes = bytes::Bytes::from_static(b"abc");
        assert!(LogChunk::new(0, vec![segment(LogStream::Stdout, 2)], bytes.clone()).is_err());
        assert!(LogChunk::new(0, vec![], bytes.clone()).is_err());
        assert!(
            LogChunk::new(0, vec![segment(LogStream::Stdout, 3), segment(LogStream::Stdout, 0)], bytes)
                .is_err()
        );
    }
}

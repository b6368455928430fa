//! The format of a sealed log: frames, an index, a footer; numbers are little endian.
//!
//! A frame is compressed by itself, so that any part can be read without the rest: how many segments (u32), per segment
//! stream (u8), time (i64, milliseconds) and length (u32), then the bytes. The index has one entry per frame; the footer
//! has a fixed size, says where the index is, and ends with a magic word.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use gantry_domain::log::{LogChunk, LogStream, MAX_CHUNK_BYTES, MAX_CHUNK_SEGMENTS, Segment};
use gantry_domain::time::Timestamp;

const MAGIC: &[u8; 8] = b"GNTRYLOG";
const VERSION: u32 = 1;
pub(super) const FOOTER_BYTES: usize = 40;
const ENTRY_BYTES: usize = 28;
const SEGMENT_BYTES: usize = 13;
const MAX_UNPACKED: usize = 4 + MAX_CHUNK_SEGMENTS * SEGMENT_BYTES + MAX_CHUNK_BYTES;
const LEVEL: i32 = 3;

/// A sealed log is not what its writer made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sealed log is damaged: {0}")]
pub struct Damaged(pub(super) String);

fn damaged<T>(what: impl Into<String>) -> Result<T, Damaged> {
    Err(Damaged(what.into()))
}

/// Where one frame is, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Offset of its first byte in the log.
    pub start: u64,
    /// The same without counting `system` lines.
    pub visible_start: u64,
    /// Where it begins in the blob.
    pub at: u64,
    pub packed: u32,
}

/// What is where in a sealed log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Index {
    pub entries: Vec<Entry>,
    /// The log's length.
    pub end: u64,
    /// The same without `system` lines.
    pub visible_end: u64,
}

/// The end of the blob, which says where the index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub index_at: u64,
    pub index_bytes: u32,
    end: u64,
    visible_end: u64,
}

/// Bytes of a chunk that are not `system` lines.
pub(super) fn visible_bytes(chunk: &LogChunk) -> u64 {
    let visible = chunk.segments().iter().filter(|segment| segment.stream != LogStream::System);
    visible.map(|segment| u64::from(segment.length)).sum()
}

impl Index {
    /// Notes a frame at the end of what was written so far.
    pub fn push(&mut self, frame: &LogChunk, at: u64, packed: usize) {
        let packed = u32::try_from(packed).unwrap_or(u32::MAX);
        self.entries.push(Entry { start: frame.offset, visible_start: self.visible_end, at, packed });
        self.end = frame.end();
        self.visible_end += visible_bytes(frame);
    }

    /// Index and footer, to be written at `at`.
    pub fn encode(&self, at: u64) -> Bytes {
        let mut out = BytesMut::with_capacity(self.entries.len() * ENTRY_BYTES + FOOTER_BYTES);
        for entry in &self.entries {
            out.put_u64_le(entry.start);
            out.put_u64_le(entry.visible_start);
            out.put_u64_le(entry.at);
            out.put_u32_le(entry.packed);
        }
        let index_bytes = out.len() as u32;
        out.put_u64_le(at);
        out.put_u32_le(index_bytes);
        out.put_u32_le(VERSION);
        out.put_u64_le(self.end);
        out.put_u64_le(self.visible_end);
        out.put_slice(MAGIC);
        out.freeze()
    }

    pub fn decode(mut bytes: &[u8], footer: Footer) -> Result<Self, Damaged> {
        if !bytes.len().is_multiple_of(ENTRY_BYTES) {
            return damaged("its index is cut off");
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
        while bytes.has_remaining() {
            let entry = Entry {
                start: bytes.get_u64_le(),
                visible_start: bytes.get_u64_le(),
                at: bytes.get_u64_le(),
                packed: bytes.get_u32_le(),
            };
            let follows = match entries.last() {
                None => entry.start == 0 && entry.visible_start == 0,
                Some(last) => entry.start > last.start && entry.visible_start >= last.visible_start,
            };
            let inside = entry.at.checked_add(entry.packed.into()).is_some_and(|end| end <= footer.index_at);
            if !follows || !inside || entry.start >= footer.end || entry.visible_start > footer.visible_end {
                return damaged("its index contradicts itself");
            }
            entries.push(entry);
        }
        Ok(Self { entries, end: footer.end, visible_end: footer.visible_end })
    }

    /// Number of the frame that holds byte `offset` of the log.
    pub fn holding(&self, offset: u64) -> Option<usize> {
        if offset >= self.end {
            return None;
        }
        self.entries.partition_point(|entry| entry.start <= offset).checked_sub(1)
    }

    /// The frame to begin with for visible byte `visible`.
    pub fn showing(&self, visible: u64) -> Option<Entry> {
        let behind = self.entries.partition_point(|entry| entry.visible_start <= visible);
        self.entries.get(behind.checked_sub(1)?).copied()
    }
}

impl Footer {
    /// From the last [`FOOTER_BYTES`] of a blob of `size` bytes.
    pub fn decode(mut bytes: &[u8], size: u64) -> Result<Self, Damaged> {
        if bytes.len() != FOOTER_BYTES || !bytes.ends_with(MAGIC) {
            return damaged("it has no footer");
        }
        let (index_at, index_bytes, version) = (bytes.get_u64_le(), bytes.get_u32_le(), bytes.get_u32_le());
        if version != VERSION {
            return damaged(format!("it has version {version}, this program reads version {VERSION}"));
        }
        let footer = Self { index_at, index_bytes, end: bytes.get_u64_le(), visible_end: bytes.get_u64_le() };
        let whole =
            index_at.checked_add(index_bytes.into()).and_then(|sum| sum.checked_add(FOOTER_BYTES as u64));
        if whole != Some(size) {
            return damaged("its footer contradicts its size");
        }
        Ok(footer)
    }
}

/// A frame, packed.
pub(super) fn pack(frame: &LogChunk) -> Result<Bytes, Damaged> {
    let segments = frame.segments();
    let mut plain = Vec::with_capacity(4 + segments.len() * SEGMENT_BYTES + frame.bytes().len());
    plain.put_u32_le(segments.len() as u32);
    for segment in segments {
        plain.put_u8(match segment.stream {
            LogStream::Stdout => 1,
            LogStream::Stderr => 2,
            LogStream::System => 3,
        });
        plain.put_i64_le(segment.time.as_millis());
        plain.put_u32_le(segment.length);
    }
    plain.extend_from_slice(frame.bytes());
    zstd::bulk::compress(&plain, LEVEL).map(Bytes::from).or_else(|error| damaged(error.to_string()))
}

/// The frame that begins at `offset` of the log.
pub(super) fn unpack(offset: u64, packed: &[u8]) -> Result<LogChunk, Damaged> {
    let plain = zstd::bulk::decompress(packed, MAX_UNPACKED).or_else(|error| damaged(error.to_string()))?;
    let mut plain = Bytes::from(plain);
    let count = plain.try_get_u32_le().map_or(usize::MAX, |count| count as usize);
    if count > plain.len() / SEGMENT_BYTES {
        return damaged("a frame is cut off");
    }
    let mut segments = Vec::with_capacity(count);
    for _ in 0..count {
        let stream = match plain.get_u8() {
            1 => LogStream::Stdout,
            2 => LogStream::Stderr,
            3 => LogStream::System,
            other => return damaged(format!("a frame names unknown stream {other}")),
        };
        let time = Timestamp::from_millis(plain.get_i64_le());
        segments.push(Segment { stream, time, length: plain.get_u32_le() });
    }
    LogChunk::new(offset, segments, plain).or_else(|error| damaged(error.to_string()))
}

/// Joins chunks, however small, into frames of full size.
#[derive(Default)]
pub(super) struct Framer {
    offset: u64,
    segments: Vec<Segment>,
    bytes: BytesMut,
}

impl Framer {
    /// Takes the next chunk; hands out the frames that are full.
    pub fn push(&mut self, chunk: &LogChunk) -> Result<Vec<LogChunk>, Damaged> {
        let mut full = Vec::new();
        for (_, segment, mut bytes) in chunk.pieces() {
            while !bytes.is_empty() {
                let room = MAX_CHUNK_BYTES - self.bytes.len();
                let continues = self
                    .segments
                    .last()
                    .is_some_and(|last| (last.stream, last.time) == (segment.stream, segment.time));
                if room == 0 || (!continues && self.segments.len() == MAX_CHUNK_SEGMENTS) {
                    full.extend(self.take()?);
                    continue;
                }
                let piece = bytes.split_to(room.min(bytes.len()));
                match self.segments.last_mut() {
                    Some(last) if continues => last.length += piece.len() as u32,
                    _ => self.segments.push(Segment { length: piece.len() as u32, ..segment }),
                }
                self.bytes.extend_from_slice(&piece);
            }
        }
        Ok(full)
    }

    /// What has gathered, as a frame.
    pub fn take(&mut self) -> Result<Option<LogChunk>, Damaged> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let (segments, bytes) = (std::mem::take(&mut self.segments), self.bytes.split().freeze());
        let frame =
            LogChunk::new(self.offset, segments, bytes).or_else(|error| damaged(error.to_string()))?;
        self.offset = frame.end();
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(offset: u64, stream: LogStream, bytes: Vec<u8>) -> LogChunk {
        let segment =
            Segment { stream, time: Timestamp::from_millis(offset as i64), length: bytes.len() as u32 };
        LogChunk::new(offset, vec![segment], bytes.into()).unwrap()
    }

    #[test]
    fn small_chunks_become_full_frames_and_stay_the_same_log() {
        let mut framer = Framer::default();
        let (mut frames, mut whole, mut at) = (Vec::new(), Vec::new(), 0);
        for n in 0..40_000_u32 {
            let stream = if n % 3 == 0 { LogStream::System } else { LogStream::Stdout };
            let chunk = chunk(at, stream, format!("line {n}\n").into_bytes());
            at = chunk.end();
            whole.extend(chunk.pieces());
            frames.extend(framer.push(&chunk).unwrap());
        }
        frames.extend(framer.take().unwrap());
        assert!((2..=6).contains(&frames.len()), "{}", frames.len());
        let back: Vec<_> = frames
            .iter()
            .map(|frame| unpack(frame.offset, &pack(frame).unwrap()).unwrap())
            .flat_map(|frame| frame.pieces().collect::<Vec<_>>())
            .collect();
        assert_eq!(back, whole);
    }

    #[test]
    fn a_chunk_larger_than_the_room_is_cut() {
        let mut framer = Framer::default();
        assert!(framer.push(&chunk(0, LogStream::Stdout, vec![b'a'; 200 << 10])).unwrap().is_empty());
        let full = framer.push(&chunk(200 << 10, LogStream::Stdout, vec![b'b'; 200 << 10])).unwrap();
        assert_eq!(full.iter().map(LogChunk::end).collect::<Vec<_>>(), [256 << 10]);
        let rest = framer.take().unwrap().unwrap();
        assert_eq!((rest.offset, rest.end()), (256 << 10, 400 << 10));
    }

    #[test]
    fn an_index_finds_frames_in_both_counts_and_survives_the_blob() {
        let mut index = Index::default();
        index.push(&chunk(0, LogStream::Stdout, vec![b'x'; 10]), 0, 5);
        index.push(&chunk(10, LogStream::System, vec![b'x'; 10]), 5, 5);
        index.push(&chunk(20, LogStream::Stdout, vec![b'x'; 10]), 10, 5);
        let encoded = index.encode(15);
        let (body, footer) = encoded.split_at(encoded.len() - FOOTER_BYTES);
        let footer = Footer::decode(footer, 15 + encoded.len() as u64).unwrap();
        assert_eq!(Index::decode(body, footer), Ok(index.clone()));
        assert_eq!(
            [0, 9, 10, 29, 30].map(|at| index.holding(at)),
            [Some(0), Some(0), Some(1), Some(2), None]
        );
        assert_eq!(
            [0, 9, 10, 19].map(|at| index.showing(at).map(|entry| entry.start)),
            [Some(0), Some(0), Some(20), Some(20)]
        );
    }

    #[test]
    fn damage_is_an_error_not_a_panic() {
        let packed = pack(&chunk(0, LogStream::Stdout, b"hello".to_vec())).unwrap();
        for at in 0..packed.len() {
            let mut broken = packed.to_vec();
            broken[at] ^= 0x55;
            let _ = unpack(0, &broken);
            assert!(unpack(0, &packed[..at]).is_err(), "cut at {at}");
        }
        let mut index = Index::default();
        index.push(&chunk(0, LogStream::Stdout, vec![b'x'; 10]), 0, 5);
        let encoded = index.encode(5);
        let size = 5 + encoded.len() as u64;
        for at in 0..encoded.len() {
            let mut broken = encoded.to_vec();
            broken[at] ^= 0xff;
            let (body, footer) = broken.split_at(broken.len() - FOOTER_BYTES);
            let _ = Footer::decode(footer, size).and_then(|footer| Index::decode(body, footer));
        }
        assert!(Footer::decode(&encoded[encoded.len() - FOOTER_BYTES..], size + 1).is_err());
    }
}

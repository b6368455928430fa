//! What was last encoded of a growing log, for everybody who follows it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::encode::Frame;

/// Encoded events that are kept; who is further behind reads the store.
const MAX_BYTES: usize = 8 << 20;
/// Events handed to one follower at once.
const MAX_HANDED: usize = 512 * 1024;

/// Frames of one attempt's log that follow one another, the newest ones.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pub attempt: u32,
    frames: VecDeque<Frame>,
    start: u64,
    end: u64,
    bytes: usize,
}

/// What a follower who stands somewhere gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The next events, and where they lead to.
    Frames(Vec<Bytes>, u64),
    /// Not here: to be read from the store, up to this byte.
    Before(u64),
    /// It has everything that there is so far.
    Nothing,
}

impl Ring {
    /// An empty ring for the log of `attempt`, from byte `start` on.
    pub fn new(attempt: u32, start: u64) -> Self {
        Self { attempt, start, end: start, ..Self::default() }
    }

    /// Up to where the log has been encoded.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn push(&mut self, frame: Frame) {
        debug_assert_eq!(frame.start, self.end);
        self.end = frame.end;
        self.bytes += frame.events.len();
        self.frames.push_back(frame);
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.frames.pop_front()
        {
            self.bytes -= oldest.events.len();
            self.start = oldest.end;
        }
    }

    pub fn from(&self, offset: u64) -> Found {
        if offset < self.start {
            return Found::Before(self.start);
        }
        let first = self.frames.partition_point(|frame| frame.end <= offset);
        let mut frames = self.frames.iter().skip(first).peekable();
        match frames.peek() {
            None => return Found::Nothing,
            Some(frame) if frame.start != offset => return Found::Before(frame.end),
            Some(_) => {}
        }
        let (mut events, mut bytes, mut end) = (Vec::new(), 0, offset);
        for frame in frames {
            bytes += frame.events.len();
            if bytes > MAX_HANDED && !events.is_empty() {
                break;
            }
            events.push(frame.events.clone());
            end = frame.end;
        }
        Found::Frames(events, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(start: u64, end: u64, size: usize) -> Frame {
        Frame { start, end, events: vec![b'x'; size].into() }
    }

    #[test]
    fn a_follower_gets_what_comes_next_or_learns_where_to_read_to() {
        let mut ring = Ring::new(1, 10);
        ring.push(frame(10, 20, 1));
        ring.push(frame(20, 30, 1));
        assert_eq!(ring.from(0), Found::Before(10));
        assert!(matches!(ring.from(10), Found::Frames(frames, 30) if frames.len() == 2));
        assert_eq!(ring.from(15), Found::Before(20));
        assert!(matches!(ring.from(20), Found::Frames(frames, 30) if frames.len() == 1));
        assert_eq!(ring.from(30), Found::Nothing);
        assert_eq!(ring.from(99), Found::Nothing);
    }

    #[test]
    fn it_stays_bounded_and_hands_out_a_bounded_part() {
        let mut ring = Ring::new(1, 0);
        for at in 0..100 {
            ring.push(frame(at, at + 1, 256 * 1024));
        }
        assert_eq!((ring.bytes, ring.end(), ring.from(0)), (MAX_BYTES, 100, Found::Before(68)));
        assert!(matches!(ring.from(68), Found::Frames(frames, 70) if frames.len() == 2));
        ring.push(frame(100, 101, 2 * MAX_HANDED));
        assert!(matches!(ring.from(100), Found::Frames(frames, 101) if frames.len() == 1));
    }
}

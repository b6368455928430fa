//! Logs to compare with.

use gantry_domain::id::RunId;
use gantry_domain::log::{LogChunk, LogStream, Segment};
use gantry_domain::time::Timestamp;

use crate::support::{Harness, Held};

/// Reproducible numbers.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A log as it should come back.
#[derive(Default, Clone)]
pub struct Sample {
    pub chunks: Vec<LogChunk>,
    pub everything: Vec<u8>,
    /// Without `system` lines.
    pub output: Vec<u8>,
}

impl Sample {
    /// About `bytes` of text from all three origins, in chunks of very different sizes.
    pub fn mixed(seed: u64, bytes: usize) -> Self {
        let mut dice = Dice::new(seed);
        let mut sample = Self::default();
        let mut time = 1_700_000_000_000;
        while sample.everything.len() < bytes {
            let (mut segments, mut text) = (Vec::new(), Vec::new());
            for _ in 0..=dice.below(40) {
                let stream = [LogStream::Stdout, LogStream::Stdout, LogStream::Stderr, LogStream::System]
                    [dice.below(4) as usize];
                time += dice.below(90) as i64;
                let words = [
                    "lorem ",
                    "ipsum\n",
                    "žluťoučký ",
                    "kůň 🐎\n",
                    "\u{1b}[31mred\u{1b}[0m",
                    "\"quoted\\\"\t",
                ];
                let most = if dice.below(10) == 0 { 400 } else { 4 };
                let piece: String =
                    (0..=dice.below(most)).map(|_| words[dice.below(words.len() as u64) as usize]).collect();
                segments.push(Segment {
                    stream,
                    time: Timestamp::from_millis(time),
                    length: piece.len() as u32,
                });
                if stream != LogStream::System {
                    sample.output.extend_from_slice(piece.as_bytes());
                }
                text.extend_from_slice(piece.as_bytes());
            }
            let offset = sample.everything.len() as u64;
            sample.everything.extend_from_slice(&text);
            sample.chunks.push(LogChunk::new(offset, segments, text.into()).unwrap());
        }
        sample
    }

    pub fn end(&self) -> u64 {
        self.everything.len() as u64
    }

    pub async fn append_to(&self, harness: &Harness, held: &Held) {
        for chunk in &self.chunks {
            let answer = harness.send_log(held, chunk).await;
            assert_eq!(answer.json(), serde_json::json!({"end": chunk.end()}));
        }
    }

    /// A finished run with this log.
    pub async fn finished(&self, harness: &Harness) -> RunId {
        let held = harness.running().await;
        self.append_to(harness, &held).await;
        assert_eq!(harness.finish(&held, 0, self.end()).await, "passed");
        held.id
    }
}

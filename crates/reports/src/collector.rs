//! Where parsers put their results: names and messages are cleaned and cut here, and nowhere else.

use gantry_domain::results::{TestResult, TestStatus};

use crate::text::{one_line, paragraphs};
use crate::{ReportError, ReportLimits};

/// Bytes kept of one name. Parametrised tests have long ones; nobody reads more than this.
pub(crate) const NAME_BYTES: usize = 1024;
/// Bytes kept of a suite or a file, which every result below repeats.
pub(crate) const SUITE_BYTES: usize = 512;
/// No test takes longer; more than that is a broken clock.
const MAX_DURATION_MS: f64 = 30.0 * 86_400.0 * 1000.0;

/// Between describe blocks, as Playwright prints them.
const BLOCK_SEPARATOR: &str = " › ";

const MESSAGE_LEFT_OUT: &str = "(left out: the messages of this report are too large together)";

/// A result as a report states it, before its text is cleaned.
#[derive(Debug)]
pub(crate) struct Stated {
    pub file: Option<String>,
    pub suite: String,
    pub name: String,
    pub status: TestStatus,
    /// Milliseconds, as far as they are a number at all.
    pub duration_ms: f64,
    pub message: Option<String>,
    pub retries: u32,
}

pub(crate) struct Collector<'l> {
    limits: &'l ReportLimits,
    /// What is left of the limits; two, so that long messages can't take the place of names.
    names_left: usize,
    messages_left: usize,
    results: Vec<TestResult>,
}

impl<'l> Collector<'l> {
    pub fn new(limits: &'l ReportLimits) -> Self {
        Self {
            limits,
            names_left: limits.names_bytes,
            messages_left: limits.messages_bytes,
            results: Vec::new(),
        }
    }

    pub fn limits(&self) -> &'l ReportLimits {
        self.limits
    }

    pub fn push(&mut self, stated: Stated) -> Result<(), ReportError> {
        if self.results.len() >= self.limits.results {
            return Err(ReportError::TooManyResults { limit: self.limits.results });
        }
        let file = stated.file.map(|file| one_line(&file, SUITE_BYTES)).filter(|file| !file.is_empty());
        let suite = one_line(&stated.suite, SUITE_BYTES);
        let name = Some(one_line(&stated.name, NAME_BYTES)).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| "(unnamed)".to_owned());
        let names = file.as_ref().map_or(0, String::len) + suite.len() + name.len();
        self.names_left = self
            .names_left
            .checked_sub(names)
            .ok_or(ReportError::NamesTooLarge { limit: self.limits.names_bytes })?;
        let message = self.message(stated.status, stated.message);
        self.results.push(TestResult {
            file,
            suite,
            name,
            status: stated.status,
            duration_ms: milliseconds(stated.duration_ms),
            message,
            retries: stated.retries,
        });
        Ok(())
    }

    /// The results so far.
    pub fn count(&self) -> usize {
        self.results.len()
    }

    /// The suite of the result at `index`; empty if there is none.
    pub fn suite(&self, index: usize) -> &str {
        self.results.get(index).map_or("", |result| &result.suite)
    }

    /// Puts the block `title` around a result's suite, whose first `head` bytes stay in front.
    pub fn enclose(&mut self, index: usize, head: usize, title: &str) -> Result<(), ReportError> {
        let Some(TestResult { suite, .. }) = self.results.get_mut(index) else {
            return Ok(());
        };
        let (front, rest) = suite.split_at(suite.floor_char_boundary(head));
        let rest = rest.strip_prefix(BLOCK_SEPARATOR).unwrap_or(rest);
        let parts = [front, title, rest].into_iter().filter(|part| !part.is_empty());
        let mut enclosed = parts.collect::<Vec<_>>().join(BLOCK_SEPARATOR);
        enclosed.truncate(enclosed.floor_char_boundary(SUITE_BYTES));
        self.names_left = self
            .names_left
            .checked_sub(enclosed.len().saturating_sub(suite.len()))
            .ok_or(ReportError::NamesTooLarge { limit: self.limits.names_bytes })?;
        *suite = enclosed;
        Ok(())
    }

    pub fn finish(self) -> Vec<TestResult> {
        self.results
    }

    fn message(&mut self, status: TestStatus, stated: Option<String>) -> Option<String> {
        if status == TestStatus::Passed {
            return None;
        }
        let message = paragraphs(&stated?, self.limits.message_bytes);
        if message.is_empty() {
            return None;
        }
        match self.messages_left.checked_sub(message.len()) {
            Some(left) => {
                self.messages_left = left;
                Some(message)
            }
            None => Some(MESSAGE_LEFT_OUT.to_owned()),
        }
    }
}

/// Negative and undefined durations are none; absurd ones are the longest there is.
fn milliseconds(stated: f64) -> u64 {
    // The cast is exact enough: the range is clamped and the fraction is rounded away.
    if stated.is_nan() { 0 } else { stated.clamp(0.0, MAX_DURATION_MS).round() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_always_plausible() {
        for (stated, kept) in [
            (1234.5, 1235),
            (-1.0, 0),
            (f64::NAN, 0),
            (f64::NEG_INFINITY, 0),
            (f64::INFINITY, 2_592_000_000),
            (1e300, 2_592_000_000),
        ] {
            assert_eq!(milliseconds(stated), kept, "{stated}");
        }
    }

    fn failed(name: &str, message: &str) -> Stated {
        Stated {
            file: None,
            suite: String::new(),
            name: name.to_owned(),
            status: TestStatus::Failed,
            duration_ms: 0.0,
            message: Some(message.to_owned()),
            retries: 0,
        }
    }

    #[test]
    fn messages_beyond_the_limit_are_left_out_and_names_beyond_theirs_are_refused() {
        let limits = ReportLimits { messages_bytes: 6, names_bytes: 9, ..ReportLimits::default() };
        let mut collector = Collector::new(&limits);
        for message in ["bbbb", "bbbb", "bb"] {
            collector.push(failed("aaa", message)).unwrap();
        }
        assert!(matches!(collector.push(failed("a", "")), Err(ReportError::NamesTooLarge { limit: 9 })));
        let messages: Vec<_> = collector.finish().into_iter().filter_map(|result| result.message).collect();
        assert_eq!(messages, ["bbbb", MESSAGE_LEFT_OUT, "bb"]);
    }
}

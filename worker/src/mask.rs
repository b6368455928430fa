//! Keeps secrets out of logs: their values become `***`, also where a value is cut into pieces on its way.
//!
//! The result does not depend on how the output was cut: it is always what masking the whole stream at once would give
//! (leftmost, then longest). Only a tail that may yet become a secret is held back, and half of a UTF-8 character.
//!
//! Values shorter than four bytes are not masked: they would tear unrelated text apart, and show by their absence where
//! they are. Of a value of several lines, each long line is masked by itself too, because tools print them one by one.

use aho_corasick::{AhoCorasick, BuildError, Input, MatchKind};
use bytes::{Bytes, BytesMut};

const MASK: Bytes = Bytes::from_static(b"***");
const SHORTEST: usize = 4;
const SHORTEST_LINE: usize = 8;

/// What to mask in one attempt's output.
#[derive(Debug)]
pub struct Secrets {
    automaton: AhoCorasick,
    /// Sorted.
    words: Vec<Vec<u8>>,
    begins: [bool; 256],
    longest: usize,
}

impl Secrets {
    /// `None` when there is nothing to mask.
    pub fn new(values: &[String]) -> Result<Option<Self>, BuildError> {
        let mut words: Vec<Vec<u8>> = Vec::new();
        for value in values {
            let lines =
                value.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_LINE && line != value);
            let whole = [value.as_str(), value.trim()].into_iter().filter(|word| word.len() >= SHORTEST);
            words.extend(whole.chain(lines).map(|word| word.as_bytes().to_vec()));
        }
        words.sort();
        words.dedup();
        let Some(longest) = words.iter().map(Vec::len).max() else { return Ok(None) };
        let mut begins = [false; 256];
        for word in &words {
            begins[usize::from(word[0])] = true;
        }
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&words)?;
        Ok(Some(Self { automaton, words, begins, longest }))
    }

    /// Whether a secret begins with `bytes`, and goes on behind them.
    fn goes_on(&self, bytes: &[u8]) -> bool {
        let at = self.words.partition_point(|word| word.as_slice() <= bytes);
        self.words.get(at).is_some_and(|word| word.starts_with(bytes))
    }

    /// Where the first tail begins, at or behind `from`, that may yet become a secret.
    fn open_tail(&self, text: &[u8], from: usize) -> usize {
        let first = from.max((text.len() + 1).saturating_sub(self.longest));
        (first..text.len())
            .find(|&at| self.begins[usize::from(text[at])] && self.goes_on(&text[at..]))
            .unwrap_or(text.len())
    }
}

/// A whole text, masked.
pub fn masked(secrets: Option<&Secrets>, text: &str) -> String {
    let mut out = BytesMut::with_capacity(text.len());
    let mut masker = Masker::default();
    let mut keep = |bytes: Bytes| out.extend_from_slice(&bytes);
    masker.push(secrets, Bytes::copy_from_slice(text.as_bytes()), &mut keep);
    masker.finish(secrets, &mut keep);
    // Secrets are texts, so that what is left of a text is one.
    String::from_utf8_lossy(&out).into_owned()
}

/// Masks one stream, piece by piece.
#[derive(Debug, Default)]
pub struct Masker {
    held: BytesMut,
}

impl Masker {
    /// Takes in the next bytes and hands out what is certain by now.
    pub fn push(&mut self, secrets: Option<&Secrets>, piece: Bytes, out: &mut impl FnMut(Bytes)) {
        let text = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(&piece);
            self.held.split().freeze()
        };
        let complete = complete_characters(&text);
        let done = mask(secrets, &text, complete, false, out);
        self.held.extend_from_slice(&text[done..]);
    }

    /// The stream is at its end: hands out what was held back.
    pub fn finish(&mut self, secrets: Option<&Secrets>, out: &mut impl FnMut(Bytes)) {
        let text = self.held.split().freeze();
        mask(secrets, &text, text.len(), true, out);
    }
}

/// Hands out the masked text up to what has to be held back, and returns where that begins.
fn mask(
    secrets: Option<&Secrets>,
    text: &Bytes,
    complete: usize,
    at_end: bool,
    out: &mut impl FnMut(Bytes),
) -> usize {
    let mut emit = |bytes: Bytes| {
        if !bytes.is_empty() {
            out(bytes);
        }
    };
    let Some(secrets) = secrets else {
        emit(text.slice(..complete));
        return complete;
    };
    let certain_from = |from: usize| match at_end {
        true => text.len(),
        false => secrets.open_tail(text, from).min(complete.max(from)),
    };
    let (mut from, mut certain) = (0, certain_from(0));
    // A match that begins before the open tail can grow no longer, nor lose to an earlier one.
    while let Some(found) = secrets.automaton.find(Input::new(text).range(from..))
        && found.start() < certain
    {
        emit(text.slice(from..found.start()));
        emit(MASK);
        from = found.end();
        if from > certain {
            certain = certain_from(from);
        }
    }
    emit(text.slice(from..certain));
    certain
}

/// How many bytes there are without the beginning of an unfinished UTF-8 character at the end.
pub(crate) fn complete_characters(text: &[u8]) -> usize {
    let tail = text.len().saturating_sub(3);
    for at in (tail..text.len()).rev() {
        let wanted = match text[at] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if text.len() - at < wanted { at } else { text.len() };
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(values: &[&str]) -> Option<Secrets> {
        Secrets::new(&values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn masked(secrets: Option<&Secrets>, pieces: &[&[u8]]) -> Vec<u8> {
        let (mut masker, mut out) = (Masker::default(), Vec::new());
        for piece in pieces {
            masker.push(secrets, Bytes::copy_from_slice(piece), &mut |bytes| out.extend_from_slice(&bytes));
        }
        masker.finish(secrets, &mut |bytes| out.extend_from_slice(&bytes));
        out
    }

    /// The definition: scan from the left, at each place take the longest value that stands there.
    fn by_definition(values: &[&str], text: &[u8]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let longest =
                values.iter().filter(|v| text[at..].starts_with(v.as_bytes())).map(|v| v.len()).max();
            match longest {
                Some(length) => {
                    out.extend_from_slice(b"***");
                    at += length;
                }
                None => {
                    out.push(text[at]);
                    at += 1;
                }
            }
        }
        out
    }

    #[test]
    fn a_secret_cut_anywhere_is_masked() {
        let secrets = secrets(&["hunter22", "hunter22-long"]);
        let text = b"a hunter22 b hunter22-long c hunter2";
        for cut in 0..=text.len() {
            let (left, right) = text.split_at(cut);
            assert_eq!(masked(secrets.as_ref(), &[left, right]), b"a *** b *** c hunter2", "{cut}");
        }
    }

    #[test]
    fn only_a_tail_that_may_become_a_secret_is_held_back() {
        let secrets = secrets(&["hunter22"]);
        let (mut masker, mut out) = (Masker::default(), Vec::new());
        let mut push = |text: &'static [u8]| {
            masker
                .push(secrets.as_ref(), Bytes::from_static(text), &mut |bytes| out.extend_from_slice(&bytes));
            out.len()
        };
        assert_eq!(push(b"nothing here\n"), 13);
        assert_eq!(push(b"a hun"), 15);
        assert_eq!(push(b"gry cat\n"), 26);
    }

    #[test]
    fn characters_are_not_cut() {
        for text in ["aé", "a€", "a😀"] {
            let bytes = text.as_bytes();
            for cut in 2..bytes.len() {
                let (mut masker, mut pieces) = (Masker::default(), Vec::new());
                masker.push(None, Bytes::copy_from_slice(&bytes[..cut]), &mut |b| pieces.push(b));
                masker.push(None, Bytes::copy_from_slice(&bytes[cut..]), &mut |b| pieces.push(b));
                assert_eq!(pieces, [Bytes::from_static(b"a"), Bytes::copy_from_slice(&bytes[1..])]);
            }
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_kept() {
        let noise: Vec<u8> = (0..=255).collect();
        assert_eq!(masked(None, &[&noise[..200], &noise[200..]]), noise);
        assert_eq!(masked(secrets(&["abcd"]).as_ref(), &[&noise[..195], &noise[195..]]).len(), 256 - 1);
    }

    #[test]
    fn short_values_are_left_alone_and_lines_of_long_ones_are_masked() {
        assert!(secrets(&["1", "abc", ""]).is_none());
        let key = secrets(&["-----BEGIN-----\nMIIEvQIBADAN\n"]);
        assert_eq!(masked(key.as_ref(), &[b"line: MIIEvQIBADAN."]), b"line: ***.");
        assert_eq!(masked(key.as_ref(), &[b"-----BEGIN-----\nMIIEvQIBADAN"]), b"***");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn any_cutting_gives_what_the_whole_gives(
            values in proptest::collection::vec("[ab]{4,9}|[abé]{4,6}", 1..5),
            text in "[abé ]{0,80}",
            cuts in proptest::collection::vec(0_usize..100, 0..12),
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let secrets = secrets(&values);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text.as_bytes()[w[0]..w[1]]).collect();
            let expected = by_definition(&values, text.as_bytes());
            prop_assert_eq!(masked(secrets.as_ref(), &[text.as_bytes()]), expected.clone());
            prop_assert_eq!(masked(secrets.as_ref(), &pieces), expected);
        }
    }
}

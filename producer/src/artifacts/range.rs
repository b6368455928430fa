//! The `Range` header, as far as it is served: one range of bytes.

use std::ops::Range;

/// What a request asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: no range, or one that is not understood and therefore ignored, as RFC 9110 has it.
    All,
    Part(Range<u64>),
    Unsatisfiable,
}

/// Reads a `Range` header for something of `length` bytes.
pub fn wanted(header: Option<&str>, length: u64) -> Wanted {
    let Some((unit, set)) = header.and_then(|header| header.split_once('=')) else { return Wanted::All };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::All;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Wanted::All };
    match (number(first), number(last)) {
        (Number::None, Number::Some(0)) => Wanted::Unsatisfiable,
        (Number::None, Number::Some(_)) if length == 0 => Wanted::Unsatisfiable,
        (Number::None, Number::Some(last)) => Wanted::Part(length.saturating_sub(last)..length),
        (Number::Some(first), Number::Some(last)) if last < first => Wanted::All,
        (Number::Some(first), Number::None | Number::Some(_)) if first >= length => Wanted::Unsatisfiable,
        (Number::Some(first), Number::None) => Wanted::Part(first..length),
        (Number::Some(first), Number::Some(last)) => Wanted::Part(first..last.saturating_add(1).min(length)),
        (Number::Wrong, _) | (_, Number::Wrong) | (Number::None, Number::None) => Wanted::All,
    }
}

enum Number {
    None,
    Some(u64),
    Wrong,
}

fn number(text: &str) -> Number {
    let text = text.trim();
    if text.is_empty() {
        return Number::None;
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Number::Wrong;
    }
    // More than fits is beyond every end.
    Number::Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        let part = Wanted::Part;
        for (header, length, expected) in [
            (None, 10, Wanted::All),
            (Some("bytes=0-0"), 10, part(0..1)),
            (Some("bytes=2-5"), 10, part(2..6)),
            (Some("bytes=2-"), 10, part(2..10)),
            (Some("bytes=-3"), 10, part(7..10)),
            (Some("bytes=-30"), 10, part(0..10)),
            (Some("Bytes= 2-99999999999999999999999"), 10, part(2..10)),
            (Some("bytes=10-"), 10, Wanted::Unsatisfiable),
            (Some("bytes=99999999999999999999999-"), 10, Wanted::Unsatisfiable),
            (Some("bytes=-0"), 10, Wanted::Unsatisfiable),
            (Some("bytes=0-"), 0, Wanted::Unsatisfiable),
            (Some("bytes=-5"), 0, Wanted::Unsatisfiable),
            (Some("bytes=5-2"), 10, Wanted::All),
            (Some("bytes=0-1,3-4"), 10, Wanted::All),
            (Some("bytes=-"), 10, Wanted::All),
            (Some("bytes=a-b"), 10, Wanted::All),
            (Some("bytes=+1-2"), 10, Wanted::All),
            (Some("lines=1-2"), 10, Wanted::All),
            (Some("bytes"), 10, Wanted::All),
            (Some(""), 10, Wanted::All),
        ] {
            assert_eq!(wanted(header, length), expected, "{header:?} of {length}");
        }
    }
}

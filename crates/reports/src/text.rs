//! Untrusted text made fit to keep and to show: bounded, without escape sequences, one meaning per character.

use std::fmt;

/// What is put where text was cut off.
const CUT: &str = "…";

/// `raw` for an error message: control and invisible characters escaped, at most 200 characters of it.
pub(crate) fn escaped(raw: &str) -> String {
    const SHOWN: usize = 200;
    let mut shown: String = raw.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if raw.chars().nth(SHOWN).is_some() {
        shown.push_str(CUT);
    }
    shown
}

/// As [`escaped`], for a name that may not be text at all.
pub(crate) fn escaped_bytes(raw: &[u8]) -> String {
    // Enough for 200 characters of any length.
    escaped(&String::from_utf8_lossy(&raw[..raw.len().min(1024)]))
}

/// A size in the largest binary unit that says it exactly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, bytes) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= bytes && self.0.is_multiple_of(bytes) {
                return write!(f, "{} {unit}", self.0 / bytes);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// The longest beginning of `text` that has at most `bytes` bytes and whole characters.
pub(crate) fn prefix(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// `text` as one clean line of at most `bytes` bytes, for names.
pub(crate) fn one_line(text: &str, bytes: usize) -> String {
    let mut line = String::with_capacity(text.len().min(bytes));
    for c in without_ansi(text) {
        let c = if c.is_control() { ' ' } else { c };
        if line.len() + c.len_utf8() > bytes {
            line.truncate(line.floor_char_boundary(bytes.saturating_sub(CUT.len())));
            line.push_str(CUT);
            break;
        }
        line.push(c);
    }
    let trimmed = line.trim();
    if trimmed.len() == line.len() { line } else { trimmed.to_owned() }
}

/// `text` with its line breaks as `\n`, at most `bytes` bytes and then a marker that says it was cut.
pub(crate) fn paragraphs(text: &str, bytes: usize) -> String {
    let mut kept = String::with_capacity(text.len().min(bytes));
    for c in without_ansi(text.trim()) {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            continue;
        }
        if kept.len() + c.len_utf8() > bytes {
            kept.push_str(&format!("\n{CUT} (cut after {})", Size(bytes as u64)));
            break;
        }
        kept.push(c);
    }
    kept
}

/// The characters of `text` that are not part of a terminal's escape sequence.
fn without_ansi(text: &str) -> impl Iterator<Item = char> {
    let mut chars = text.chars().peekable();
    std::iter::from_fn(move || {
        while chars.peek() == Some(&'\u{1b}') {
            chars.next();
            match chars.next() {
                // CSI: parameters, then one final byte.
                Some('[') => {
                    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                    chars.next_if(|c| matches!(c, '@'..='~'));
                }
                // OSC: up to a bell or to ESC \; an end that is missing costs the rest of the line only.
                Some(']') => {
                    while chars.next_if(|c| !matches!(c, '\u{7}' | '\u{1b}' | '\n')).is_some() {}
                    chars.next_if_eq(&'\u{7}');
                }
                _ => {}
            }
        }
        chars.next()
    })
}

/// Text gathered piece by piece, of which only the first bytes are kept.
#[derive(Debug, Default)]
pub(crate) struct Gathered(String);

impl Gathered {
    /// Appends as much of `piece` as still fits into `limit` bytes.
    pub fn push(&mut self, piece: &str, limit: usize) {
        self.0.push_str(prefix(piece, limit.saturating_sub(self.0.len())));
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Appends what the reference `&name;` stands for: a predefined entity or a character XML can hold. Anything else
/// stays as it was written; nothing is ever expanded.
pub(crate) fn push_reference(out: &mut Gathered, name: &str, limit: usize) {
    let character = match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => match name.strip_prefix('#') {
            Some(number) => match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok(),
                None => number.parse().ok(),
            }
            .filter(|code| *code != 0)
            .and_then(char::from_u32),
            None => None,
        },
    };
    match character {
        Some(character) => out.push(character.encode_utf8(&mut [0; 4]), limit),
        None => {
            out.push("&", limit);
            out.push(name, limit);
            out.push(";", limit);
        }
    }
}

/// An attribute's value with its references resolved, at most `limit` bytes of it.
pub(crate) fn unescaped(value: &str, limit: usize) -> String {
    let mut out = Gathered::default();
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        out.push(&rest[..at], limit);
        rest = &rest[at + 1..];
        if out.as_str().len() + 4 > limit {
            return out.0;
        }
        // A reference is short; an ampersand without a semicolon near it is an ampersand.
        match prefix(rest, 32).find(';') {
            Some(end) => {
                push_reference(&mut out, &rest[..end], limit);
                rest = &rest[end + 1..];
            }
            None => out.push("&", limit),
        }
    }
    out.push(rest, limit);
    out.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_message_shows_no_control_characters() {
        assert_eq!(escaped("a\r\n\u{1b}[31m\u{202e}\u{2028}"), "a\\r\\n\\u{1b}[31m\\u{202e}\\u{2028}");
        assert_eq!(escaped(&"x".repeat(300)).len(), 200 + CUT.len());
        assert_eq!(escaped_bytes(b"a\xff"), "a\u{fffd}");
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(Size(512 << 20).to_string(), "512 MiB");
        assert_eq!(Size(2 << 30).to_string(), "2 GiB");
        assert_eq!(Size(1000).to_string(), "1000 bytes");
    }

    #[test]
    fn escape_sequences_are_dropped() {
        assert_eq!(paragraphs("\u{1b}[31mred\u{1b}[39m\r\nplain\0", 100), "red\nplain");
        assert_eq!(paragraphs("\u{1b}]8;;http://x\u{7}link\u{1b}]8;;\u{1b}\\ end\u{1b}", 100), "link end");
        assert_eq!(one_line(" a\nb\u{1b}[2Jc ", 100), "a bc");
    }

    #[test]
    fn text_is_cut_between_characters_and_says_so() {
        assert_eq!(paragraphs("ääää", 5), "ää\n… (cut after 5 bytes)");
        assert_eq!(one_line("ääää", 7), "ää…");
        assert_eq!(one_line("ääää", 8), "ääää");
    }

    #[test]
    fn references_resolve_once_and_unknown_ones_stay() {
        assert_eq!(
            unescaped("a &lt;b&gt; &#65;&#x42; &amp;lt; &lol; &#0; & b &", 100),
            "a <b> AB &lt; &lol; &#0; & b &"
        );
    }

    proptest! {
        #[test]
        fn kept_text_is_bounded_and_clean(text in any::<String>(), bytes in 3_usize..50) {
            prop_assert!(one_line(&text, bytes).len() <= bytes);
            prop_assert!(!one_line(&text, bytes).chars().any(char::is_control));
            prop_assert!(paragraphs(&text, bytes).len() <= bytes + 40);
            prop_assert!(unescaped(&text, bytes).len() <= bytes);
            prop_assert!(!escaped(&text).chars().any(char::is_control));
        }
    }
}

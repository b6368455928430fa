//! Text of others as one line.

use std::fmt;

/// Longer names are cut; nobody reads them in a subject.
const MAX_CHARS: usize = 200;

/// One line of visible text: no line end, no control character, nothing that turns the direction of what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line(String);

impl Line {
    pub fn new(text: &str) -> Self {
        let visible = text.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c });
        let words = visible.collect::<String>();
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        match words.char_indices().nth(MAX_CHARS) {
            Some((end, _)) => Self(format!("{}…", words[..end].trim_end())),
            None => Self(words),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Marks of direction, line and paragraph separators, and what has no width.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_between_lines_is_on_one() {
        for (text, line) in [
            ("Shop team", "Shop team"),
            ("  Shop\r\nBcc: everybody@example.com", "Shop Bcc: everybody@example.com"),
            ("a\u{2028}b\u{85}c\u{0}d\u{1b}[31m", "a b c d [31m"),
            ("evil\u{202e}gpj.exe", "evil gpj.exe"),
            ("\r\n", ""),
        ] {
            assert_eq!(Line::new(text).as_str(), line);
        }
        assert_eq!(Line::new(&"x".repeat(1000)).as_str().chars().count(), MAX_CHARS + 1);
    }

    proptest! {
        #[test]
        fn a_line_is_always_one(text in any::<String>()) {
            let line = Line::new(&text);
            prop_assert!(!line.as_str().chars().any(char::is_control));
            prop_assert!(line.as_str().lines().count() <= 1);
        }
    }
}

//! Text from elsewhere, made harmless: names and messages may hold escape sequences that move the cursor, change the
//! title or turn the writing direction. Only a run's own output is passed through as it is.

/// One line: every control character is shown as what it is.
pub fn line(text: &str) -> String {
    shown(text, |_| false)
}

/// Several lines: line ends and tabs stay.
pub fn lines(text: &str) -> String {
    shown(text, |c| c == '\n' || c == '\t')
}

fn shown(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !stays(c) && (c.is_control() || is_invisible_trick(c)) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Direction overrides and isolates, and separators that some terminals break lines at.
fn is_invisible_trick(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// At most `width` characters, the last of them `…` when something was cut.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_is_shown_instead() {
        assert_eq!(line("a\x1b[2Jb\r\n\u{9b}c\u{202e}ü"), "a\\u{1b}[2Jb\\r\\n\\u{9b}c\\u{202e}ü");
        assert_eq!(lines("a\n\tb\x07"), "a\n\tb\\u{7}");
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüx", 3), "äö…");
    }
}

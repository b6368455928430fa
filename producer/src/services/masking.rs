//! Keeps secrets out of what is stored about a run: as they are, and in the forms that tools print them in. The worker is told
//! the same forms, and keeps them out of the log.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

const MASK: &str = "***";
/// Shorter ones would tear unrelated text apart.
const SHORTEST: usize = 4;
const SHORTEST_ENCODED: usize = 8;
const SHORTEST_LINE: usize = 8;
/// Of longer values only the plain form is looked for: they are keys and documents, which tools do not put into URLs.
const LONGEST_ENCODED: usize = 1024;

/// The value, and how it looks inside JSON, a URL, or base64 of a text that it is part of.
pub fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    let trimmed = value.trim();
    if trimmed.len() <= LONGEST_ENCODED {
        let json = serde_json::Value::from(trimmed).to_string();
        forms.push(json.trim_matches('"').to_owned());
        forms.push(percent_encoded(trimmed));
        forms.push(percent_encoded(trimmed).replace("%20", "+"));
        forms.extend((0..3).flat_map(|before| base64_inside(trimmed.as_bytes(), before)));
    }
    let whole = forms[0].clone();
    forms.retain(|form| form.len() >= SHORTEST);
    forms.sort_unstable();
    forms.dedup();
    // The value itself in front, for whoever reads the list.
    forms.sort_by_key(|form| *form != whole);
    forms
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// What base64 makes of the bytes behind `before` others (modulo 3), without the characters that its neighbours have a say in.
fn base64_inside(bytes: &[u8], before: usize) -> Vec<String> {
    let padded = [&[0; 2][..before], bytes].concat();
    let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
    let inside = |encoded: String| encoded.get(from..to).unwrap_or_default().to_owned();
    let forms = [inside(STANDARD_NO_PAD.encode(&padded)), inside(URL_SAFE_NO_PAD.encode(&padded))];
    forms.into_iter().filter(|form| form.len() >= SHORTEST_ENCODED).collect()
}

/// Replaces secrets in texts. Nothing to replace costs nothing.
#[derive(Debug, Default)]
pub struct Mask(Option<AhoCorasick>);

impl Mask {
    /// Of all forms of these values, and of each long line of those that have several.
    pub fn new(values: &[String]) -> Self {
        let lines = values.iter().filter(|value| value.trim().contains('\n')).flat_map(|value| value.lines());
        let lines = lines.map(str::trim).filter(|line| line.len() >= SHORTEST_LINE).map(str::to_owned);
        let words: Vec<String> =
            values.iter().cloned().chain(lines).flat_map(|value| forms(&value)).collect();
        if words.is_empty() {
            return Self(None);
        }
        // Fails for gigabytes of patterns only, and secrets have a limit far below.
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&words);
        Self(automaton.ok())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.0 {
            Some(automaton) if automaton.is_match(text) => {
                let mut masked = String::with_capacity(text.len());
                automaton.replace_all_with(text, &mut masked, |_, _, out| {
                    out.push_str(MASK);
                    true
                });
                Cow::Owned(masked)
            }
            _ => Cow::Borrowed(text),
        }
    }

    pub fn put_on(&self, text: &mut String) {
        if let Cow::Owned(masked) = self.text(text) {
            *text = masked;
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const SECRET: &str = "s3cr\"t/with +every&thing?é";

    #[test]
    fn a_secret_is_found_in_every_form() {
        let mask = Mask::new(&[SECRET.to_owned()]);
        let url = "https://x/?q=s3cr%22t%2Fwith%20%2Bevery%26thing%3F%C3%A9";
        for text in [
            format!("it is {SECRET}!"),
            url.to_owned(),
            url.replace("%20", "+"),
            serde_json::json!({"token": SECRET}).to_string(),
        ] {
            let masked = mask.text(&text).into_owned();
            assert!(masked.contains("***") && !masked.contains("every"), "{masked}");
        }
        for user in ["a:", "an:", "ann:", "anna:"] {
            for end in ["", ":x", ":xy"] {
                let plain = format!("{user}{SECRET}{end}");
                for encoded in [STANDARD.encode(&plain), URL_SAFE_NO_PAD.encode(&plain)] {
                    let masked = mask.text(&encoded).into_owned();
                    assert!(
                        masked.contains("***") && masked.len() < user.len() * 2 + 16,
                        "{encoded} {masked}"
                    );
                }
            }
        }
        assert_eq!(mask.text("nothing of it"), "nothing of it");
    }

    #[test]
    fn lines_of_a_key_are_found_by_themselves() {
        let mask = Mask::new(&["-----BEGIN KEY-----\nabcdefghijklmnop\nq\n".to_owned()]);
        assert_eq!(mask.text("x abcdefghijklmnop y"), "x *** y");
        assert!(Mask::new(&[]).is_empty() && Mask::new(&["abc".to_owned()]).is_empty());
    }

    #[test]
    fn long_values_are_looked_for_as_they_are_only() {
        let long = "x".repeat(LONGEST_ENCODED + 1);
        assert_eq!(forms(&long), [long]);
        assert_eq!(forms("plain-token")[0], "plain-token");
    }
}

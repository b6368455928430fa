//! API keys: what scripts present. Random bits with a prefix that people and scanners know and a checksum that spares the
//! store a look-up of obvious nonsense. Kept as SHA-256.

use crate::encode::{hash, hex, same};

/// What API keys begin with, so that scanners and people recognise them.
pub const API_KEY_PREFIX: &str = "gantry_";

const BODY_DIGITS: usize = 40;

/// A new API key: prefix, 160 random bits, checksum.
pub fn new_api_key() -> String {
    let bits: [u8; BODY_DIGITS / 2] = rand::random();
    let body = hex(&bits);
    let check = checksum(&body);
    format!("{API_KEY_PREFIX}{body}{check}")
}

/// How a key begins, to recognise it in a list: 24 of its 160 random bits.
pub fn shown_prefix(key: &str) -> String {
    key.chars().take(API_KEY_PREFIX.len() + 6).collect()
}

/// Whether a text can be a key at all; spares the store a look-up of obvious nonsense.
pub fn looks_like_api_key(text: &str) -> bool {
    let Some((body, check)) =
        text.strip_prefix(API_KEY_PREFIX).and_then(|rest| rest.split_at_checked(BODY_DIGITS))
    else {
        return false;
    };
    same(checksum(body).as_bytes(), check.as_bytes())
}

/// Whether a key that somebody configured is one of ours, and random.
pub fn check_strength(key: &str) -> Result<(), String> {
    let mut letters: Vec<_> = key.strip_prefix(API_KEY_PREFIX).unwrap_or_default().bytes().collect();
    letters.sort_unstable();
    letters.dedup();
    // 46 random digits have 10 different ones but for one time in millions.
    match looks_like_api_key(key) && letters.len() >= 10 {
        true => Ok(()),
        false => Err("is not a strong API key: use one that `gantry-producer new-key` prints".to_owned()),
    }
}

fn checksum(body: &str) -> String {
    hex(&hash(body)[..3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_random_keys_are_strong() {
        assert_eq!(check_strength(&new_api_key()), Ok(()));
        let zeros = "0".repeat(40);
        let check = checksum(&zeros);
        assert!(looks_like_api_key(&format!("gantry_{zeros}{check}")));
        assert!(check_strength(&format!("gantry_{zeros}{check}")).is_err());
        assert!(check_strength("gantry_secret").is_err());
    }

    #[test]
    fn a_mistyped_key_is_recognised() {
        let key = new_api_key();
        assert!(looks_like_api_key(&key));
        assert!(!looks_like_api_key(&key[..key.len() - 1]));
        assert!(!looks_like_api_key(&format!("{key}0")));
        assert!(!looks_like_api_key(&key.replace("gantry_", "other_")));
        let (front, last) = key.split_at(key.len() - 1);
        let other = if last == "0" { "1" } else { "0" };
        assert!(!looks_like_api_key(&format!("{front}{other}")));
    }

    #[test]
    fn odd_texts_are_no_keys() {
        for text in ["", "gantry_", "gantry_é", &format!("gantry_{}", "é".repeat(23))] {
            assert!(!looks_like_api_key(text), "{text}");
        }
    }
}

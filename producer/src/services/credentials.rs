//! Secrets that callers present: made of random bits, kept as hashes.

use argon2::{Argon2, PasswordHasher as _};
use sha2::{Digest, Sha256};

/// What API keys begin with, so that scanners and people recognise them.
pub const API_KEY_PREFIX: &str = "gantry_";

/// A new API key: prefix, 160 random bits, checksum.
pub fn new_api_key() -> String {
    let bits: [u8; 20] = rand::random();
    let body = hex(&bits);
    let check = hex(&hash(&body)[..3]);
    format!("{API_KEY_PREFIX}{body}{check}")
}

/// Whether a text can be a key at all; spares the store a look-up of obvious nonsense.
pub fn looks_like_api_key(text: &str) -> bool {
    let Some((body, check)) = text.strip_prefix(API_KEY_PREFIX).and_then(|rest| rest.split_at_checked(40))
    else {
        return false;
    };
    hex(&hash(body)[..3]) == check
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

/// SHA-256: enough for secrets with full entropy.
pub fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// A password as Argon2id (19 MiB, 2 passes) in PHC form. Takes some tens of milliseconds.
pub fn hash_password(password: &str) -> Result<String, PasswordHashError> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(|_| PasswordHashError)?;
    Ok(hash.to_string())
}

/// The system gave no randomness or memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct PasswordHashError;

/// A token of 256 random bits.
pub fn new_token() -> String {
    hex(&rand::random::<[u8; 32]>())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_random_keys_are_strong() {
        assert_eq!(check_strength(&new_api_key()), Ok(()));
        let zeros = "0".repeat(40);
        let check = hex(&hash(&zeros)[..3]);
        assert!(looks_like_api_key(&format!("gantry_{zeros}{check}")));
        assert!(check_strength(&format!("gantry_{zeros}{check}")).is_err());
        assert!(check_strength("gantry_secret").is_err());
    }

    #[test]
    fn a_mistyped_key_is_recognised() {
        let key = new_api_key();
        assert!(looks_like_api_key(&key));
        assert!(!looks_like_api_key(&key[..key.len() - 1]));
        assert!(!looks_like_api_key(&key.replace("gantry_", "other_")));
        let (front, last) = key.split_at(key.len() - 1);
        let other = if last == "0" { "1" } else { "0" };
        assert!(!looks_like_api_key(&format!("{front}{other}")));
    }
}

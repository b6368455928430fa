//! Keys that Gantry signs and seals with, as operators configure them: `NAME:BASE64`. Weak ones cannot be made.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// 256 bits, the strength of HMAC-SHA256 and of the cipher for secrets.
pub const KEY_BYTES: usize = 32;
const MAX_SIGNING_BYTES: usize = 256;
/// 32 random bytes hold fewer different values less than once in 10¹⁸ times.
const FEWEST_DIFFERENT_BYTES: usize = 16;

/// Names a key in tokens and sealed secrets, so that keys can change while what they made is still around.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyName(String);

impl KeyName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = BadKey;

    fn from_str(name: &str) -> Result<Self, BadKey> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        match (1..=32).contains(&name.len()) && name.bytes().all(plain) {
            true => Ok(Self(name.to_owned())),
            false => Err(BadKey::Name),
        }
    }
}

/// Why a configured key cannot be used. Never holds the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("a key looks like NAME:BASE64, the name being 1 to 32 of a-z A-Z 0-9 - _")]
    Name,
    #[error("the part behind the name is not base64, as `openssl rand -base64 32` makes it")]
    Encoding,
    #[error("is too short: take 32 random bytes, as `openssl rand -base64 32` makes them")]
    Short,
    #[error("is too long: take 32 random bytes, as `openssl rand -base64 32` makes them")]
    Long,
    #[error("is not random: take what `openssl rand -base64 32` makes")]
    NotRandom,
    #[error("there are no more than two signing keys, the newer one first, with different names")]
    SigningKeys,
    #[error("two keys have the same name")]
    SameName,
    #[error("there is no key")]
    None,
}

fn parse(text: &str) -> Result<(KeyName, Zeroizing<Vec<u8>>), BadKey> {
    let (name, encoded) = text.trim().split_once(':').ok_or(BadKey::Name)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| BadKey::Encoding)?;
    Ok((name.parse()?, Zeroizing::new(bytes)))
}

fn check(bytes: &[u8], longest: usize) -> Result<(), BadKey> {
    let mut seen = [false; 256];
    bytes.iter().for_each(|&byte| seen[usize::from(byte)] = true);
    if bytes.len() < KEY_BYTES {
        Err(BadKey::Short)
    } else if bytes.len() > longest {
        Err(BadKey::Long)
    } else if seen.into_iter().filter(|&seen| seen).count() < FEWEST_DIFFERENT_BYTES {
        Err(BadKey::NotRandom)
    } else {
        Ok(())
    }
}

/// Makes and checks signatures. At least 32 bytes.
#[derive(Clone)]
pub struct SigningKey {
    name: KeyName,
    bytes: Zeroizing<Vec<u8>>,
}

impl SigningKey {
    pub fn new(name: KeyName, bytes: Vec<u8>) -> Result<Self, BadKey> {
        let bytes = Zeroizing::new(bytes);
        check(&bytes, MAX_SIGNING_BYTES)?;
        Ok(Self { name, bytes })
    }

    /// A key of this process alone, for an installation that configures none.
    pub fn random(name: KeyName) -> Self {
        Self { name, bytes: Zeroizing::new(rand::random::<[u8; KEY_BYTES]>().to_vec()) }
    }

    /// `NAME:BASE64`, to be kept by an installation that makes its own key. The one way out of this type.
    pub fn to_config(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", self.name, STANDARD.encode(&self.bytes[..])))
    }

    pub fn name(&self) -> &KeyName {
        &self.name
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl FromStr for SigningKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let (name, bytes) = parse(text)?;
        check(&bytes, MAX_SIGNING_BYTES)?;
        Ok(Self { name, bytes })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.name)
    }
}

/// The two keys that are live while one replaces the other: the first signs, both verify.
#[derive(Debug, Clone)]
pub struct SigningKeys {
    pub(crate) current: SigningKey,
    pub(crate) previous: Option<SigningKey>,
}

impl SigningKeys {
    pub fn new(current: SigningKey, previous: Option<SigningKey>) -> Result<Self, BadKey> {
        match previous.as_ref().is_some_and(|previous| previous.name == current.name) {
            true => Err(BadKey::SigningKeys),
            false => Ok(Self { current, previous }),
        }
    }

    pub(crate) fn named(&self, name: &str) -> Option<&SigningKey> {
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.name.as_str() == name)
    }
}

impl FromStr for SigningKeys {
    type Err = BadKey;

    /// One or two `NAME:BASE64`, separated by commas or line ends, the newer one first.
    fn from_str(text: &str) -> Result<Self, BadKey> {
        let mut keys = items(text).map(str::parse::<SigningKey>);
        let current = keys.next().ok_or(BadKey::None)??;
        let previous = keys.next().transpose()?;
        match keys.next() {
            Some(_) => Err(BadKey::SigningKeys),
            None => Self::new(current, previous),
        }
    }
}

/// Seals and opens secrets at rest. Exactly 32 bytes.
#[derive(Clone)]
pub struct SealingKey {
    name: KeyName,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl SealingKey {
    pub fn new(name: KeyName, bytes: [u8; KEY_BYTES]) -> Result<Self, BadKey> {
        let bytes = Zeroizing::new(bytes);
        check(&bytes[..], KEY_BYTES)?;
        Ok(Self { name, bytes })
    }

    pub fn random(name: KeyName) -> Self {
        Self { name, bytes: Zeroizing::new(rand::random()) }
    }

    /// `NAME:BASE64`, to be kept by an installation that makes its own key. The one way out of this type.
    pub fn to_config(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", self.name, STANDARD.encode(&self.bytes[..])))
    }

    pub fn name(&self) -> &KeyName {
        &self.name
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }
}

impl FromStr for SealingKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let (name, bytes) = parse(text)?;
        check(&bytes, KEY_BYTES)?;
        let mut exact = Zeroizing::new([0; KEY_BYTES]);
        exact.copy_from_slice(&bytes);
        Ok(Self { name, bytes: exact })
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.name)
    }
}

/// What a list of keys consists of.
pub(crate) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n', '\r']).map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, bytes: &[u8]) -> String {
        format!("{name}:{}", STANDARD.encode(bytes))
    }

    #[test]
    fn weak_keys_cannot_be_made() {
        let random: [u8; 300] = rand::random();
        for (bytes, fault) in [
            (&random[..31], BadKey::Short),
            (&[], BadKey::Short),
            (&[7; 32], BadKey::NotRandom),
            (&random[..257], BadKey::Long),
        ] {
            assert_eq!(text("a", bytes).parse::<SigningKey>().unwrap_err(), fault);
            assert_eq!(SigningKey::new("a".parse().unwrap(), bytes.to_vec()).unwrap_err(), fault);
            assert_eq!(text("a", bytes).parse::<SealingKey>().unwrap_err(), fault);
        }
        assert_eq!(SealingKey::new("a".parse().unwrap(), [0; 32]).unwrap_err(), BadKey::NotRandom);
        assert_eq!(text("a", &random[..33]).parse::<SealingKey>().unwrap_err(), BadKey::Long);
        assert!(text("a", &random[..32]).parse::<SealingKey>().is_ok());
        assert!(text("a", &random[..32]).parse::<SigningKey>().is_ok());
    }

    #[test]
    fn malformed_keys_are_refused_without_being_told() {
        let good = text("x", &rand::random::<[u8; 32]>());
        let secret = good.trim_start_matches("x:").to_owned();
        for bad in [
            secret.clone(),
            format!(":{secret}"),
            format!("a b:{secret}"),
            format!("{}:{secret}", "n".repeat(33)),
        ] {
            let error = bad.parse::<SigningKey>().unwrap_err();
            assert!(!error.to_string().contains(&secret));
            assert_eq!(error, BadKey::Name);
        }
        assert_eq!("a:not base64!".parse::<SigningKey>().unwrap_err(), BadKey::Encoding);
    }

    #[test]
    fn there_are_one_or_two_signing_keys() {
        let [a, b, c] = ["a", "b", "c"].map(|name| text(name, &rand::random::<[u8; 32]>()));
        let keys: SigningKeys = format!("{a}\n{b}\n").parse().unwrap();
        assert_eq!(keys.current.name.as_str(), "a");
        assert!(keys.named("b").is_some() && keys.named("c").is_none() && keys.named("").is_none());
        assert!(a.parse::<SigningKeys>().unwrap().previous.is_none());
        for bad in [format!("{a},{b},{c}"), format!("{a},{a}")] {
            assert_eq!(bad.parse::<SigningKeys>().unwrap_err(), BadKey::SigningKeys);
        }
        assert_eq!(" ,\n".parse::<SigningKeys>().unwrap_err(), BadKey::None);
    }

    #[test]
    fn keys_print_their_names_only() {
        let (name, bytes) = ("k1", [7, 99, 201]);
        let mut full = [0; 32];
        full.iter_mut().zip((0..).step_by(7)).for_each(|(byte, n)| *byte = n);
        full[..3].copy_from_slice(&bytes);
        let key: SigningKey = text(name, &full).parse().unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(k1)");
        assert_eq!(key.to_config().as_str(), text(name, &full));
        let key: SealingKey = text(name, &full).parse().unwrap();
        assert_eq!(format!("{key:?}"), "SealingKey(k1)");
        assert_eq!(key.to_config().as_str(), text(name, &full));
    }
}

//! Secrets at rest: XChaCha20-Poly1305 under a named key, bound to the organization and the name they belong to, so that a
//! sealed secret that is copied to another place does not open there.
//!
//! A sealed secret is a text, `v1.KEY.BASE64`, of a random nonce and the sealed bytes. Its key's name shows when it must be
//! sealed anew after a change of keys.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use gantry_domain::id::OrganizationId;
use zeroize::Zeroizing;

use crate::key::{BadKey, SealingKey, items};
use crate::secret::SecretText;

const VERSION: &str = "v1";
const NONCE_BYTES: usize = 24;

/// What a secret belongs to; it opens for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    pub organization: OrganizationId,
    /// Unique within the organization, such as `project/prj_…/SHOP_TOKEN`.
    pub name: &'a str,
}

/// Why a sealed secret does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("the key {0:?} that sealed this secret is not configured")]
    UnknownKey(String),
    /// Changed, of another place, or under another key of the same name.
    #[error("the sealed secret does not belong here, or was changed")]
    Refused,
    #[error("not a sealed secret that this version understands")]
    Malformed,
}

/// The cipher refused to seal: a secret of more than 256 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret could not be sealed")]
pub struct SealError;

/// Seals with one key, opens with that one and older ones. Cheap to share.
pub struct Sealer {
    current: SealingKey,
    older: Vec<SealingKey>,
}

impl Sealer {
    pub fn new(current: SealingKey, older: Vec<SealingKey>) -> Result<Self, BadKey> {
        let mut names: Vec<_> = older.iter().chain([&current]).map(|key| key.name().as_str()).collect();
        names.sort_unstable();
        match names.windows(2).any(|pair| pair[0] == pair[1]) {
            true => Err(BadKey::SameName),
            false => Ok(Self { current, older }),
        }
    }

    pub fn seal(&self, place: Place<'_>, secret: &SecretText) -> Result<String, SealError> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let key = self.current.name().as_str();
        let aad = associated(key, place);
        let sealed = cipher(&self.current)
            .encrypt(&XNonce::from(nonce), Payload { msg: secret.expose().as_bytes(), aad: &aad })
            .map_err(|_| SealError)?;
        let bytes = [&nonce[..], &sealed].concat();
        Ok(format!("{VERSION}.{key}.{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    pub fn open(&self, place: Place<'_>, sealed: &str) -> Result<SecretText, OpenError> {
        let (name, bytes) = parts(sealed).ok_or(OpenError::Malformed)?;
        let key = [&self.current]
            .into_iter()
            .chain(&self.older)
            .find(|key| key.name().as_str() == name)
            .ok_or_else(|| OpenError::UnknownKey(name.to_owned()))?;
        let bytes = URL_SAFE_NO_PAD.decode(bytes).map_err(|_| OpenError::Malformed)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::Malformed)?;
        let aad = associated(name, place);
        let opened = cipher(key)
            .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad })
            .map(Zeroizing::new)
            .map_err(|_| OpenError::Refused)?;
        let text = std::str::from_utf8(&opened).map_err(|_| OpenError::Malformed)?;
        Ok(SecretText::new(text))
    }

    /// Whether a secret is sealed with an older key and should be sealed anew; true for what is not understood as well.
    pub fn needs_reseal(&self, sealed: &str) -> bool {
        parts(sealed).is_none_or(|(name, _)| name != self.current.name().as_str())
    }
}

impl FromStr for Sealer {
    type Err = BadKey;

    /// `NAME:BASE64`, separated by commas or line ends; the first seals, all open.
    fn from_str(text: &str) -> Result<Self, BadKey> {
        let mut keys = items(text).map(str::parse::<SealingKey>);
        let current = keys.next().ok_or(BadKey::None)??;
        Self::new(current, keys.collect::<Result<_, _>>()?)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("current", &self.current).field("older", &self.older).finish()
    }
}

fn cipher(key: &SealingKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes().into())
}

fn parts(sealed: &str) -> Option<(&str, &str)> {
    sealed.strip_prefix(VERSION)?.strip_prefix('.')?.split_once('.')
}

/// What is sealed along without being stored. Unambiguous: key names hold no NUL, ids have a fixed length, the name is last.
fn associated(key: &str, place: Place<'_>) -> Vec<u8> {
    format!("gantry-seal {VERSION} {key}\0{}\0{}", place.organization, place.name).into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> SealingKey {
        SealingKey::random(name.parse().unwrap())
    }

    fn sealer(current: &SealingKey, older: &[&SealingKey]) -> Sealer {
        Sealer::new(current.clone(), older.iter().copied().cloned().collect()).unwrap()
    }

    const HERE: Place<'static> =
        Place { organization: OrganizationId::from_u128(7), name: "project/shop/TOKEN" };

    #[test]
    fn a_secret_opens_only_where_it_belongs() {
        let sealer = sealer(&key("a"), &[]);
        let sealed = sealer.seal(HERE, &SecretText::new("s3cret")).unwrap();
        assert_eq!(sealer.open(HERE, &sealed).unwrap().expose(), "s3cret");
        for elsewhere in [
            Place { organization: OrganizationId::from_u128(8), ..HERE },
            Place { name: "project/shop/OTHER", ..HERE },
            Place { name: "", ..HERE },
        ] {
            assert_eq!(sealer.open(elsewhere, &sealed).unwrap_err(), OpenError::Refused);
        }
    }

    #[test]
    fn keys_change_while_old_secrets_stay_readable() {
        let [a, b, c] = ["a", "b", "c"].map(key);
        let old = sealer(&a, &[]).seal(HERE, &SecretText::new("one")).unwrap();
        let both = sealer(&b, &[&a]);
        assert!(both.needs_reseal(&old));
        let opened = both.open(HERE, &old).unwrap();
        let new = both.seal(HERE, &opened).unwrap();
        assert!(!both.needs_reseal(&new));
        let after = sealer(&c, &[&b]);
        assert_eq!(after.open(HERE, &new).unwrap().expose(), "one");
        assert_eq!(after.open(HERE, &old).unwrap_err(), OpenError::UnknownKey("a".to_owned()));
    }

    #[test]
    fn another_key_of_the_same_name_opens_nothing() {
        let sealed = sealer(&key("a"), &[]).seal(HERE, &SecretText::new("one")).unwrap();
        assert_eq!(sealer(&key("a"), &[]).open(HERE, &sealed).unwrap_err(), OpenError::Refused);
    }

    #[test]
    fn a_key_cannot_be_passed_off_as_another() {
        let (a, b) = (key("a"), key("b"));
        // The same bytes under two names: the name is sealed along.
        let twin = SealingKey::new("b".parse().unwrap(), *a.bytes()).unwrap();
        let sealed = sealer(&a, &[]).seal(HERE, &SecretText::new("one")).unwrap();
        let renamed = sealed.replacen(".a.", ".b.", 1);
        assert_eq!(sealer(&a, &[&twin]).open(HERE, &renamed).unwrap_err(), OpenError::Refused);
        assert_eq!(sealer(&a, &[&b]).open(HERE, &renamed).unwrap_err(), OpenError::Refused);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sealer = sealer(&key("a"), &[]);
        let sealed = sealer.seal(HERE, &SecretText::new("one")).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(sealed.strip_prefix("v1.a.").unwrap()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = format!("v1.a.{}", URL_SAFE_NO_PAD.encode(bytes));
            assert_eq!(sealer.open(HERE, &changed).unwrap_err(), OpenError::Refused);
        }
        for cut in 1..bytes.len() {
            let changed = format!("v1.a.{}", URL_SAFE_NO_PAD.encode(&bytes[..cut]));
            assert!(sealer.open(HERE, &changed).is_err());
        }
    }

    #[test]
    fn the_same_secret_is_sealed_differently_each_time_and_never_shown() {
        let sealer = sealer(&key("a"), &[]);
        let secret = SecretText::new("a-secret-that-would-show");
        let (one, two) = (sealer.seal(HERE, &secret).unwrap(), sealer.seal(HERE, &secret).unwrap());
        assert_ne!(one, two);
        assert!(!one.contains("would-show"));
        let opened = sealer.open(HERE, &one);
        assert_eq!(
            format!("{sealer:?} {opened:?}"),
            "Sealer { current: SealingKey(a), older: [] } Ok((secret))"
        );
    }

    #[test]
    fn keys_are_configured_as_a_list_of_different_names() {
        let [a, b] = ["a", "b"].map(|name| key(name).to_config());
        let sealer: Sealer = format!("{}\n{}\n", *a, *b).parse().unwrap();
        let sealed = sealer.seal(HERE, &SecretText::new("one")).unwrap();
        assert!(sealed.starts_with("v1.a."));
        assert_eq!(format!("{},{}", *a, *a).parse::<Sealer>().unwrap_err(), BadKey::SameName);
        assert_eq!("".parse::<Sealer>().unwrap_err(), BadKey::None);
    }

    proptest! {
        #[test]
        fn any_secret_comes_back(secret in ".{0,300}", name in ".{0,60}") {
            let sealer = sealer(&key("a"), &[]);
            let place = Place { name: &name, ..HERE };
            let sealed = sealer.seal(place, &SecretText::new(secret.clone())).unwrap();
            let opened = sealer.open(place, &sealed).unwrap();
            prop_assert_eq!(opened.expose(), secret);
        }

        #[test]
        fn no_text_opens_and_none_makes_it_panic(text in ".{0,100}", body in "[A-Za-z0-9_-]{0,120}") {
            let sealer = sealer(&key("a"), &[]);
            prop_assert!(sealer.open(HERE, &text).is_err());
            let body = format!("v1.a.{body}");
            prop_assert!(sealer.open(HERE, &body).is_err());
        }
    }
}

//! Links that are good for a short time without anybody signing in, such as one to a report on its own origin: HMAC-SHA256
//! over what the link is for, its path and its end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_domain::time::{Clock, Timestamp};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::key::{SigningKey, SigningKeys};

/// A link never lives longer.
pub const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// What a link opens; a signature for one purpose is worth nothing for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose(&'static str);

impl Purpose {
    pub const REPORT: Self = Self("report");

    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }
}

/// Why a link does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Genuine, but its time is over: whoever followed it may ask for a new one.
    #[error("this link has expired")]
    Expired,
    #[error("this link is not valid")]
    Invalid,
}

/// Makes and checks signed links.
pub struct LinkSigner {
    keys: SigningKeys,
    clock: Arc<dyn Clock>,
}

impl LinkSigner {
    pub fn new(keys: SigningKeys, clock: Arc<dyn Clock>) -> Self {
        Self { keys, clock }
    }

    /// The signature of a link to `path`, good for `lifetime` (at most [`MAX_LIFETIME`]): one segment of a path or value of a
    /// query, without characters that need escaping.
    pub fn sign(&self, purpose: Purpose, path: &str, lifetime: Duration) -> String {
        let expires = (self.clock.now() + lifetime.min(MAX_LIFETIME)).as_millis();
        let key = &self.keys.current;
        let tag = mac(key, purpose, path, expires).finalize().into_bytes();
        format!("{}.{expires}.{}", key.name(), URL_SAFE_NO_PAD.encode(tag))
    }

    /// Whether `signature` opens `path`, and until when.
    pub fn verify(&self, purpose: Purpose, path: &str, signature: &str) -> Result<Timestamp, LinkError> {
        let mut parts = signature.splitn(3, '.');
        let (Some(name), Some(expires), Some(tag)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(LinkError::Invalid);
        };
        let key = self.keys.named(name).ok_or(LinkError::Invalid)?;
        let digits = expires.bytes().all(|byte| byte.is_ascii_digit());
        let expires: i64 = expires.parse().ok().filter(|_| digits).ok_or(LinkError::Invalid)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| LinkError::Invalid)?;
        mac(key, purpose, path, expires).verify_slice(&tag).map_err(|_| LinkError::Invalid)?;
        let end = Timestamp::from_millis(expires);
        match self.clock.now() < end {
            true => Ok(end),
            false => Err(LinkError::Expired),
        }
    }
}

impl fmt::Debug for LinkSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkSigner").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// Over lengths and contents, so that no two links have the same message, and with a name of its own in front, so that none is
/// a message of something else that the key signs.
fn mac(key: &SigningKey, purpose: Purpose, path: &str, expires: i64) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("a key");
    mac.update(b"gantry signed link v1\0");
    for part in [purpose.0, path] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.update(&expires.to_be_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use gantry_domain::time::ManualClock;
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const PATH: &str = "/reports/run_1/index.html";

    fn signer() -> (LinkSigner, ManualClock) {
        let clock = ManualClock::at(Timestamp::from_millis(1_800_000_000_000));
        let keys = SigningKeys::new(SigningKey::random("a".parse().unwrap()), None).unwrap();
        (LinkSigner::new(keys, Arc::new(clock.clone())), clock)
    }

    #[test]
    fn a_link_opens_its_path_until_its_end() {
        let (signer, clock) = signer();
        let signature = signer.sign(Purpose::REPORT, PATH, MINUTE);
        assert_eq!(signer.verify(Purpose::REPORT, PATH, &signature), Ok(clock.now() + MINUTE));
        clock.advance(MINUTE - Duration::from_millis(1));
        assert!(signer.verify(Purpose::REPORT, PATH, &signature).is_ok());
        clock.advance(Duration::from_millis(1));
        assert_eq!(signer.verify(Purpose::REPORT, PATH, &signature), Err(LinkError::Expired));
    }

    #[test]
    fn a_link_opens_nothing_else() {
        let (signer, clock) = signer();
        let signature = signer.sign(Purpose::REPORT, PATH, MINUTE);
        let invalid = |purpose, path, signature: &str| {
            assert_eq!(
                signer.verify(purpose, path, signature),
                Err(LinkError::Invalid),
                "{path} {signature}"
            );
        };
        invalid(Purpose::new("export"), PATH, &signature);
        invalid(Purpose::new("report/"), &PATH[1..], &signature);
        invalid(Purpose::REPORT, "/reports/run_2/index.html", &signature);
        invalid(Purpose::REPORT, "", &signature);
        let mut parts = signature.split('.');
        let (name, expires, tag) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let later = expires.parse::<i64>().unwrap() + 1;
        for bad in [
            String::new(),
            format!("{name}.{later}.{tag}"),
            format!("{name}.+{expires}.{tag}"),
            format!("{name}.0{expires}.{tag}."),
            format!("b.{expires}.{tag}"),
            format!("{name}.{expires}."),
            format!("{name}.{expires}.{}", &tag[..20]),
            format!("{name}.{expires}.{tag}A"),
            format!("{name}.{expires}"),
        ] {
            invalid(Purpose::REPORT, PATH, &bad);
        }
        clock.advance(MINUTE);
        invalid(Purpose::REPORT, "/elsewhere", &signature);
    }

    #[test]
    fn a_link_outlives_a_change_of_keys_but_not_two() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::EPOCH));
        let [a, b, c] = ["a", "b", "c"].map(|name| SigningKey::random(name.parse().unwrap()));
        let with = |current: &SigningKey, previous: &SigningKey| {
            let keys = SigningKeys::new(current.clone(), Some(previous.clone())).unwrap();
            LinkSigner::new(keys, clock.clone())
        };
        let signature = with(&a, &c).sign(Purpose::REPORT, PATH, MINUTE);
        assert!(with(&b, &a).verify(Purpose::REPORT, PATH, &signature).is_ok());
        assert_eq!(with(&c, &b).verify(Purpose::REPORT, PATH, &signature), Err(LinkError::Invalid));
    }

    #[test]
    fn no_link_is_good_for_ever() {
        let (signer, clock) = signer();
        let signature = signer.sign(Purpose::REPORT, PATH, Duration::MAX);
        assert_eq!(signer.verify(Purpose::REPORT, PATH, &signature), Ok(clock.now() + MAX_LIFETIME));
    }

    proptest! {
        #[test]
        fn a_signature_needs_no_escaping_and_is_for_its_path_alone(path in ".{0,80}", other in ".{0,80}") {
            let (signer, _) = signer();
            let signature = signer.sign(Purpose::REPORT, &path, MINUTE);
            prop_assert!(signature.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
            prop_assert!(signer.verify(Purpose::REPORT, &path, &signature).is_ok());
            prop_assert_eq!(signer.verify(Purpose::REPORT, &other, &signature).is_ok(), other == path);
            prop_assert!(signer.verify(Purpose::REPORT, &path, &other).is_err());
        }
    }
}

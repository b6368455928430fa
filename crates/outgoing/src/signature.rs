//! Lets the receiver of a webhook know that it is from us, and that nobody kept it to send it again.
//!
//! ```text
//! X-Gantry-Signature: t=1800000000,v1=5257a869e7ec…
//! ```
//!
//! `t` is when it was signed, in seconds since 1970. `v1` is HMAC-SHA256, in lower-case hex, over the value of `t`, a dot, and
//! the body byte by byte as it was received, under the secret that the webhook was given (the whole text, prefix included).
//! While a secret is being changed there are two `v1`, one for each.
//!
//! A receiver takes the header apart, computes the HMAC over `t`, `.` and the raw body, compares it with each `v1` in constant
//! time, and refuses what is older than five minutes. In a shell:
//!
//! ```text
//! printf '%s.%s' "$t" "$body" | openssl dgst -sha256 -hmac "$secret"
//! ```
//!
//! [`verify`] does the same.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use gantry_domain::time::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderValue;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The header that carries the signature.
pub const SIGNATURE_HEADER: &str = "x-gantry-signature";
/// How old a signature may be, and how far the clocks may differ.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

const PREFIX: &str = "whsec_";
const DIGITS: usize = 64;
/// A header with more is nobody's who changes a secret.
const MAX_SIGNATURES: usize = 8;

/// What sender and receiver of a webhook share: 256 random bits.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<String>);

/// Why a text is not the secret of a webhook. Never holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the secret of a webhook: it looks like whsec_ and 64 digits of 0-9 a-f")]
pub struct BadSecret;

impl WebhookSecret {
    pub fn random() -> Self {
        let mut text = Zeroizing::new(PREFIX.to_owned());
        let bits = Zeroizing::new(rand::random::<[u8; DIGITS / 2]>());
        text.push_str(&hex(&bits[..]));
        Self(text)
    }

    /// The secret itself, to be shown once and to be sealed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for WebhookSecret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let digits = text.strip_prefix(PREFIX).ok_or(BadSecret)?;
        let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match digits.len() == DIGITS && digits.bytes().all(lower_hex) {
            true => Ok(Self(Zeroizing::new(text.to_owned()))),
            false => Err(BadSecret),
        }
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_…")
    }
}

/// Why a webhook is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    #[error("the signature is not one that Gantry makes")]
    Malformed,
    #[error("the signature is not made with this secret, or the body was changed")]
    Wrong,
    #[error("the signature is too old, or from the future")]
    Late,
}

/// The value of [`SIGNATURE_HEADER`] for a body that is sent now. `former` is the secret before the current one, while receivers
/// still know that.
pub fn sign(
    current: &WebhookSecret,
    former: Option<&WebhookSecret>,
    now: Timestamp,
    body: &[u8],
) -> HeaderValue {
    let seconds = now.as_millis().max(0) / 1000;
    let mut value = format!("t={seconds}");
    for secret in [Some(current), former].into_iter().flatten() {
        let tag = mac(secret, &seconds.to_string(), body).finalize().into_bytes();
        value.push_str(",v1=");
        value.push_str(&hex(&tag));
    }
    #[expect(clippy::expect_used, reason = "digits, letters, commas and equals signs")]
    HeaderValue::from_str(&value).expect("a value of a header")
}

/// Whether `header` signs `body` with `secret`, about `now`: for receivers written in Rust, and as the example for others.
pub fn verify(secret: &WebhookSecret, header: &str, body: &[u8], now: Timestamp) -> Result<(), BadSignature> {
    let (time, signatures) = header
        .strip_prefix("t=")
        .and_then(|rest| rest.split_once(','))
        .filter(|(time, _)| time.len() <= 15 && time.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or(BadSignature::Malformed)?;
    let seconds: i64 = time.parse().map_err(|_| BadSignature::Malformed)?;
    let genuine = signatures.split(',').take(MAX_SIGNATURES).any(|signature| {
        signature
            .strip_prefix("v1=")
            .and_then(unhex)
            .is_some_and(|tag| mac(secret, time, body).verify_slice(&tag).is_ok())
    });
    if !genuine {
        return Err(BadSignature::Wrong);
    }
    let signed = Timestamp::from_millis(seconds * 1000);
    match now.since(signed) <= TOLERANCE && signed.since(now) <= TOLERANCE {
        true => Ok(()),
        false => Err(BadSignature::Late),
    }
}

fn mac(secret: &WebhookSecret, time: &str, body: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mac = Hmac::<Sha256>::new_from_slice(secret.0.as_bytes()).expect("a key");
    mac.chain_update(time).chain_update(b".").chain_update(body)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const BODY: &[u8] = br#"{"event":"run.finished"}"#;

    fn header(secret: &WebhookSecret, body: &[u8]) -> String {
        sign(secret, None, NOW, body).to_str().unwrap().to_owned()
    }

    #[test]
    fn the_documented_command_gives_the_same() {
        let secret: WebhookSecret = format!("whsec_{}", "0123456789abcdef".repeat(4)).parse().unwrap();
        // Printed by the command above.
        let tag = "7511ae3effb04548854d6b29db79ba85e093b34dc021c0ef5e0541f26b825d9d";
        assert_eq!(header(&secret, BODY), format!("t=1800000000,v1={tag}"));
    }

    #[test]
    fn only_what_was_signed_is_genuine() {
        let (secret, other) = (WebhookSecret::random(), WebhookSecret::random());
        let good = header(&secret, BODY);
        assert_eq!(verify(&secret, &good, BODY, NOW), Ok(()));
        assert_eq!(verify(&other, &good, BODY, NOW), Err(BadSignature::Wrong));
        assert_eq!(verify(&secret, &good, b"{}", NOW), Err(BadSignature::Wrong));
        assert_eq!(verify(&secret, &good.replace("t=18", "t=19"), BODY, NOW), Err(BadSignature::Wrong));
        // The dot cannot be moved: the time is digits only.
        assert_eq!(
            verify(&secret, &good.replace("t=1800000000", "t=180000000"), b"0.x", NOW),
            Err(BadSignature::Wrong)
        );
        for bad in
            ["", "t=", "t=1", "v1=00", "t=x,v1=00", "t=-1,v1=00", "t=1800000000.5,v1=00", &"t=9".repeat(99)]
        {
            assert_eq!(verify(&secret, bad, BODY, NOW), Err(BadSignature::Malformed), "{bad}");
        }
        for bad in [
            "t=1800000000,",
            "t=1800000000,v1=",
            "t=1800000000,v1=zz",
            "t=1800000000,v0=00",
            &good[..good.len() - 2],
        ] {
            assert_eq!(verify(&secret, bad, BODY, NOW), Err(BadSignature::Wrong), "{bad}");
        }
    }

    #[test]
    fn an_old_webhook_cannot_be_sent_again() {
        let secret = WebhookSecret::random();
        let good = header(&secret, BODY);
        for (now, expected) in [
            (NOW + TOLERANCE, Ok(())),
            (NOW + TOLERANCE + Duration::from_secs(1), Err(BadSignature::Late)),
            (NOW - TOLERANCE, Ok(())),
            (NOW - TOLERANCE - Duration::from_secs(1), Err(BadSignature::Late)),
        ] {
            assert_eq!(verify(&secret, &good, BODY, now), expected);
        }
    }

    #[test]
    fn while_a_secret_changes_receivers_may_know_either() {
        let (current, former) = (WebhookSecret::random(), WebhookSecret::random());
        let both = sign(&current, Some(&former), NOW, BODY);
        let both = both.to_str().unwrap();
        assert_eq!(both.matches("v1=").count(), 2);
        for secret in [&current, &former] {
            assert_eq!(verify(secret, both, BODY, NOW), Ok(()));
        }
        assert_eq!(verify(&WebhookSecret::random(), both, BODY, NOW), Err(BadSignature::Wrong));
    }

    #[test]
    fn a_secret_is_long_and_does_not_print_itself() {
        let secret = WebhookSecret::random();
        assert_eq!(format!("{secret:?}"), "whsec_…");
        assert_eq!(secret.expose().parse::<WebhookSecret>().unwrap().expose(), secret.expose());
        for bad in
            ["", "whsec_", "whsec_00", &secret.expose().to_uppercase(), &format!("{}0", secret.expose())]
        {
            assert_eq!(bad.parse::<WebhookSecret>().unwrap_err(), BadSecret);
        }
    }

    proptest! {
        #[test]
        fn any_body_is_signed_and_any_header_is_judged(body in any::<Vec<u8>>(), junk in any::<String>()) {
            let secret = WebhookSecret::random();
            let good = header(&secret, &body);
            prop_assert_eq!(verify(&secret, &good, &body, NOW), Ok(()));
            prop_assert!(verify(&secret, &junk, &body, NOW).is_err());
            let junk = format!("t=1800000000,v1={junk}");
            prop_assert!(verify(&secret, &junk, &body, NOW).is_err());
        }
    }
}

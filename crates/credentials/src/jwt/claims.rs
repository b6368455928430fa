//! A token's header and claims, as they are written and as they must be to be read.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_domain::id::{OrganizationId, SessionId, UserId};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AccessTokens, Claims, LIFETIME, Subject, time};
use crate::encode::hex;

/// What the claim `typ` of an access token says.
pub(super) const TYPE: &str = "access";

/// What the text of a [`TokenId`] begins with.
const PREFIX: &str = "jwt_";

/// Names one token, for audit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId(u128);

impl TokenId {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(rand::random())
    }

    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex(&self.0.to_be_bytes()))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TokenId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let digits = text.strip_prefix(PREFIX).ok_or(NotAnId)?;
        let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match digits.len() == 32 && digits.bytes().all(lower_hex) {
            true => u128::from_str_radix(digits, 16).map(Self).map_err(|_| NotAnId),
            false => Err(NotAnId),
        }
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Why a text is not the id of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this kind")]
pub struct NotAnId;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHeader {
    alg: String,
    kid: String,
    typ: String,
}

/// The claims, all of them; times in seconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    pub iss: String,
    pub aud: String,
    pub typ: String,
    pub jti: TokenId,
    pub sub: UserId,
    pub sid: SessionId,
    #[serde(deserialize_with = "there")]
    pub org: Option<OrganizationId>,
    pub iat: u64,
    pub nbf: u64,
    pub exp: u64,
}

/// A claim that must be there, if only as `null`.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

impl Wire {
    pub fn new(tokens: &AccessTokens, subject: Subject, now: u64) -> Self {
        Self {
            iss: tokens.issuer.clone(),
            aud: tokens.audience.clone(),
            typ: TYPE.to_owned(),
            jti: TokenId::new(),
            sub: subject.user,
            sid: subject.session,
            org: subject.organization,
            iat: now,
            nbf: now,
            exp: now + LIFETIME.as_secs(),
        }
    }
}

impl From<Wire> for Claims {
    fn from(wire: Wire) -> Self {
        Self {
            subject: Subject { user: wire.sub, session: wire.sid, organization: wire.org },
            id: wire.jti,
            issued_at: time(wire.iat),
            expires_at: time(wire.exp),
        }
    }
}

/// The name of the key, if the header says nothing but what ours do: no other algorithm, no key or its address, nothing
/// critical, nothing twice.
pub(super) fn read_header(part: &str) -> Option<String> {
    let header: WireHeader = read(part)?;
    (header.alg == "HS256" && header.typ == "JWT").then_some(header.kid)
}

/// The claims, if all of ours are there, once each and with their types, and no others.
pub(super) fn read_payload(part: &str) -> Option<Wire> {
    read(part)
}

fn read<T: DeserializeOwned>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    // A list of values in the order of the fields would be understood as well.
    json.starts_with(b"{").then(|| serde_json::from_slice(&json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = TokenId::from_u128(0xab);
        assert_eq!(id.to_string(), "jwt_000000000000000000000000000000ab");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in
            ["", "jwt_", "ses_000000000000000000000000000000ab", "jwt_+00000000000000000000000000000ab"]
        {
            assert_eq!(bad.parse::<TokenId>(), Err(NotAnId), "{bad}");
        }
    }
}

//! Access tokens: JSON Web Tokens with one algorithm, every claim required and typed, and nothing that a token says about how
//! it wants to be checked believed.
//!
//! The library makes and checks the signature. What is inside is read here, because a general reader takes what this one must
//! refuse: absent claims, claims twice, headers that name keys.

mod claims;
#[cfg(test)]
mod confusion;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gantry_domain::id::{OrganizationId, SessionId, UserId};
use gantry_domain::time::{Clock, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use zeroize::Zeroizing;

pub use self::claims::TokenId;
use self::claims::Wire;
use crate::key::{SigningKey, SigningKeys};

/// How long an access token is good.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// By how much the clocks of replicas may differ.
pub const LEEWAY: Duration = Duration::from_secs(5);
/// Ours have about 500; longer ones are not looked into.
pub const MAX_TOKEN_BYTES: usize = 2048;

/// Not a token that is good now. One answer for every cause, so that nothing is learned from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the access token is not valid")]
pub struct InvalidToken;

/// The library refused to sign; it never does with keys that [`SigningKey`] lets through.
#[derive(Debug, thiserror::Error)]
#[error("the access token could not be signed")]
pub struct SigningError(#[from] jsonwebtoken::errors::Error);

/// Who acts, through which of their sessions, in which organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    pub user: UserId,
    pub session: SessionId,
    /// `None` for somebody who belongs to none.
    pub organization: Option<OrganizationId>,
}

/// What a good token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    pub subject: Subject,
    pub id: TokenId,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A new access token.
pub struct AccessToken {
    text: Zeroizing<String>,
    pub claims: Claims,
}

impl AccessToken {
    /// The token itself, for the answer that hands it out.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("claims", &self.claims).finish_non_exhaustive()
    }
}

/// Issues and checks access tokens. Cheap to share, keeps no state: ending a session early is the caller's look-up.
pub struct AccessTokens {
    issuer: String,
    audience: String,
    current: LiveKey,
    previous: Option<LiveKey>,
    clock: Arc<dyn Clock>,
}

struct LiveKey {
    name: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl From<&SigningKey> for LiveKey {
    fn from(key: &SigningKey) -> Self {
        Self {
            name: key.name().to_string(),
            encoding: EncodingKey::from_secret(key.bytes()),
            decoding: DecodingKey::from_secret(key.bytes()),
        }
    }
}

impl AccessTokens {
    /// Tokens of `issuer` (this installation) for `audience` (its API): one of another installation with the same keys, or for
    /// another purpose, is not valid here.
    pub fn new(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        keys: &SigningKeys,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            current: (&keys.current).into(),
            previous: keys.previous.as_ref().map(Into::into),
            clock,
        }
    }

    /// The names of the live keys, the one that signs first.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().map(|key| key.name.as_str())
    }

    pub fn issue(&self, subject: Subject) -> Result<AccessToken, SigningError> {
        let now = seconds(self.clock.now());
        let wire = Wire::new(self, subject, now);
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(self.current.name.clone());
        let text = Zeroizing::new(encode(&header, &wire, &self.current.encoding)?);
        Ok(AccessToken { text, claims: wire.into() })
    }

    /// What `token` says, if it is one of ours and good now.
    pub fn verify(&self, token: &str) -> Result<Claims, InvalidToken> {
        self.read(token).map_err(|fault| {
            tracing::debug!(fault, "access token refused");
            InvalidToken
        })
    }

    fn read(&self, token: &str) -> Result<Claims, &'static str> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err("too long");
        }
        let (signed, signature) = token.rsplit_once('.').ok_or("not three parts")?;
        let (header, payload) = signed.split_once('.').ok_or("not three parts")?;
        let kid = claims::read_header(header).ok_or("not our header")?;
        let key = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.name == kid)
            .ok_or("no such key")?;
        let genuine =
            jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key.decoding, Algorithm::HS256);
        if !genuine.unwrap_or(false) {
            return Err("not our signature");
        }
        let wire = claims::read_payload(payload).ok_or("not our claims")?;
        self.check(&wire)?;
        Ok(wire.into())
    }

    fn check(&self, wire: &Wire) -> Result<(), &'static str> {
        let (now, leeway) = (seconds(self.clock.now()), LEEWAY.as_secs());
        if wire.iss != self.issuer || wire.aud != self.audience || wire.typ != claims::TYPE {
            Err("for somebody else")
        } else if wire.iat > wire.nbf || wire.nbf >= wire.exp || wire.exp - wire.iat > LIFETIME.as_secs() {
            Err("times that are never issued")
        } else if wire.nbf > now.saturating_add(leeway) {
            Err("not yet valid")
        } else if now >= wire.exp.saturating_add(leeway) {
            Err("expired")
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = [Some(&self.current), self.previous.as_ref()].map(|key| key.map(|key| &key.name));
        f.debug_struct("AccessTokens")
            .field("issuer", &self.issuer)
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}

fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_millis() / 1000).unwrap_or(0)
}

fn time(seconds: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use gantry_domain::time::ManualClock;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn subject() -> Subject {
        Subject { user: UserId::new(), session: SessionId::new(), organization: Some(OrganizationId::new()) }
    }

    fn key(name: &str) -> SigningKey {
        SigningKey::random(name.parse().unwrap())
    }

    fn tokens(keys: &SigningKeys, clock: &ManualClock) -> AccessTokens {
        AccessTokens::new("gantry", "api", keys, Arc::new(clock.clone()))
    }

    #[test]
    fn a_token_says_who_and_until_when() {
        let clock = ManualClock::at(START);
        let tokens = tokens(&SigningKeys::new(key("a"), None).unwrap(), &clock);
        let subject = subject();
        let token = tokens.issue(subject).unwrap();
        let claims = tokens.verify(token.expose()).unwrap();
        assert_eq!(claims, token.claims);
        assert_eq!((claims.subject, claims.issued_at, claims.expires_at), (subject, START, START + LIFETIME));
        assert_ne!(tokens.issue(subject).unwrap().claims.id, claims.id);
        assert!(token.expose().len() < 600, "{}", token.expose().len());
        assert!(!format!("{token:?} {tokens:?}").contains(token.expose()));
    }

    #[test]
    fn a_token_is_good_for_fifteen_minutes_and_a_little() {
        let clock = ManualClock::at(START);
        let tokens = tokens(&SigningKeys::new(key("a"), None).unwrap(), &clock);
        let token = tokens.issue(subject()).unwrap();
        clock.advance(LIFETIME + LEEWAY - Duration::from_secs(1));
        assert!(tokens.verify(token.expose()).is_ok());
        clock.advance(Duration::from_secs(1));
        assert_eq!(tokens.verify(token.expose()), Err(InvalidToken));
        clock.set_back(LIFETIME + LEEWAY * 2);
        assert!(tokens.verify(token.expose()).is_ok(), "a replica whose clock is a little behind");
        clock.set_back(Duration::from_secs(1));
        assert_eq!(tokens.verify(token.expose()), Err(InvalidToken), "from the future");
    }

    #[test]
    fn while_keys_change_tokens_of_both_are_good() {
        let clock = ManualClock::at(START);
        let [a, b, c] = ["a", "b", "c"].map(key);
        let before = tokens(&SigningKeys::new(a.clone(), None).unwrap(), &clock);
        let during = tokens(&SigningKeys::new(b.clone(), Some(a)).unwrap(), &clock);
        let after = tokens(&SigningKeys::new(c, Some(b)).unwrap(), &clock);
        let (old, new) = (before.issue(subject()).unwrap(), during.issue(subject()).unwrap());
        assert!(during.verify(old.expose()).is_ok() && during.verify(new.expose()).is_ok());
        assert_eq!(before.verify(new.expose()), Err(InvalidToken));
        assert!(after.verify(new.expose()).is_ok());
        assert_eq!(after.verify(old.expose()), Err(InvalidToken));
    }

    #[test]
    fn another_installation_or_another_purpose_is_somebody_else() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(START));
        let keys = SigningKeys::new(key("a"), None).unwrap();
        let ours = AccessTokens::new("gantry", "api", &keys, clock.clone());
        for (issuer, audience) in [("other", "api"), ("gantry", "other"), ("api", "gantry"), ("", "")] {
            let theirs = AccessTokens::new(issuer, audience, &keys, clock.clone());
            assert_eq!(ours.verify(theirs.issue(subject()).unwrap().expose()), Err(InvalidToken));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_token_and_none_makes_it_panic(text in ".{0,200}", parts in proptest::collection::vec("[A-Za-z0-9_=-]{0,40}", 0..6)) {
            let tokens = tokens(&SigningKeys::new(key("a"), None).unwrap(), &ManualClock::at(START));
            proptest::prop_assert!(tokens.verify(&text).is_err());
            proptest::prop_assert!(tokens.verify(&parts.join(".")).is_err());
        }

        #[test]
        fn a_token_with_one_other_character_is_refused(position in 0_usize..400, letter in "[A-Za-z0-9._=-]") {
            let tokens = tokens(&SigningKeys::new(key("a"), None).unwrap(), &ManualClock::at(START));
            let good = tokens.issue(subject()).unwrap();
            let position = position % good.expose().len();
            let mut bad = good.expose().to_owned();
            bad.replace_range(position..=position, &letter);
            proptest::prop_assert_eq!(tokens.verify(&bad).is_ok(), bad == good.expose());
        }
    }
}

//! Tokens that mean something only to the store: a session's refresh token, an invitation, a password reset, a link to a
//! report. 256 random bits with a prefix that tells what they are for; each kind is a type of its own, so that one is never
//! taken for another. The store keeps their hashes.

use std::fmt;
use std::marker::PhantomData;

use zeroize::Zeroizing;

use crate::encode::{hash, hex, same};

/// What a token is for.
pub trait TokenKind: Send + Sync + 'static {
    /// What every token of this kind begins with.
    const PREFIX: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {}

        impl TokenKind for $name {
            const PREFIX: &'static str = $prefix;
        }
    )*
        #[cfg(test)]
        const PREFIXES: &[&str] = &[$($prefix),*];
    };
}

kinds! {
    /// Renews a session; good for one use.
    Refresh = "gantry_rt_";
    /// Lets somebody join an organization.
    Invitation = "gantry_iv_";
    /// Lets somebody choose a new password.
    PasswordReset = "gantry_pr_";
    /// Opens one report for a short time.
    ReportLink = "gantry_rl_";
}

const DIGITS: usize = 64;

/// A token as its holder has it. Seen once by whoever it is made for, never stored.
pub struct Token<K> {
    text: Zeroizing<String>,
    kind: PhantomData<fn() -> K>,
}

impl<K: TokenKind> Token<K> {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let bits = Zeroizing::new(rand::random::<[u8; DIGITS / 2]>());
        let digits = Zeroizing::new(hex(&bits[..]));
        Self { text: Zeroizing::new(format!("{}{}", K::PREFIX, *digits)), kind: PhantomData }
    }

    /// A token that somebody presents; `None` when it cannot be one of this kind.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(K::PREFIX)?;
        let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (digits.len() == DIGITS && digits.bytes().all(lower_hex))
            .then(|| Self { text: Zeroizing::new(text.to_owned()), kind: PhantomData })
    }

    /// The token itself, for the answer, cookie or link that carries it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What is stored and looked up.
    pub fn hash(&self) -> TokenHash {
        TokenHash(hash(&self.text))
    }
}

impl<K: TokenKind> fmt::Debug for Token<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", K::PREFIX)
    }
}

/// SHA-256 of a token, its prefix included, so that hashes of two kinds are never equal.
#[derive(Clone, Copy)]
pub struct TokenHash(pub [u8; 32]);

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// 256 random bits without a kind, for what operators configure, such as worker tokens.
pub fn new_token() -> String {
    hex(&rand::random::<[u8; DIGITS / 2]>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_key::looks_like_api_key;

    #[test]
    fn a_token_comes_back_from_its_text() {
        let token = Token::<Refresh>::new();
        let again = Token::<Refresh>::parse(token.expose()).unwrap();
        assert_eq!(token.hash(), again.hash());
        assert_ne!(token.hash(), Token::<Refresh>::new().hash());
        assert_eq!(token.expose().len(), Refresh::PREFIX.len() + 64);
    }

    #[test]
    fn one_kind_is_never_taken_for_another() {
        let reset = Token::<PasswordReset>::new();
        assert!(Token::<Refresh>::parse(reset.expose()).is_none());
        assert!(Token::<Invitation>::parse(reset.expose()).is_none());
        assert!(Token::<ReportLink>::parse(reset.expose()).is_none());
        let swapped = reset.expose().replace(PasswordReset::PREFIX, Refresh::PREFIX);
        assert_ne!(Token::<Refresh>::parse(&swapped).unwrap().hash(), reset.hash());
        assert!(!looks_like_api_key(reset.expose()));
        for (i, one) in PREFIXES.iter().enumerate() {
            assert!(PREFIXES[i + 1..].iter().all(|other| !one.starts_with(other) && !other.starts_with(one)));
        }
    }

    #[test]
    fn sloppy_forms_are_refused() {
        let token = Token::<Refresh>::new();
        let text = token.expose();
        for bad in [
            "",
            Refresh::PREFIX,
            &text[..text.len() - 1],
            &format!("{text}0"),
            &format!(" {text}"),
            &format!("{text}\n"),
            &text.to_uppercase(),
            &format!("{}{}", Refresh::PREFIX, "é".repeat(32)),
            &format!("{}{}", Refresh::PREFIX, "A".repeat(64)),
        ] {
            assert!(Token::<Refresh>::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn neither_a_token_nor_its_hash_prints_itself() {
        let token = Token::<Invitation>::new();
        assert_eq!(format!("{token:?} {:?}", token.hash()), "gantry_iv_… TokenHash(…)");
    }
}

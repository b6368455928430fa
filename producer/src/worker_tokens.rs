//! What workers present: one or more tokens, so that a new one can be rolled out while the old one still works, and with a
//! pool each if they shall be good for that pool alone.

use std::sync::{Arc, PoisonError, RwLock};

use gantry_domain::spec::Pool;
use gantry_service_kit::config::Secret;

use crate::services::credentials;

/// Shorter ones can be guessed.
const MIN_LENGTH: usize = 32;
const MAX_TOKENS: usize = 100;

/// The tokens that are good now. Clones share them.
#[derive(Clone)]
pub struct WorkerTokens(Arc<RwLock<Vec<Token>>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    hash: [u8; 32],
    /// Good for workers of this pool; of any pool when absent.
    pool: Option<Pool>,
}

/// What a presented token allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    pool: Option<Pool>,
}

impl Allowed {
    pub fn pool(&self, pool: &Pool) -> bool {
        self.pool.as_ref().is_none_or(|own| own == pool)
    }
}

impl From<&str> for WorkerTokens {
    /// One token for every pool, taken as it is.
    fn from(token: &str) -> Self {
        Self::of(vec![Token { hash: credentials::hash(token), pool: None }])
    }
}

impl WorkerTokens {
    fn of(tokens: Vec<Token>) -> Self {
        Self(Arc::new(RwLock::new(tokens)))
    }

    /// Reads `TOKEN,POOL=TOKEN,…`, separated by commas or line ends.
    pub fn parse(text: &Secret) -> Result<Self, String> {
        parse(text.expose()).map(Self::of)
    }

    /// What `token` allows, `None` for a wrong one. Takes as long for one as for the other: hashes are compared, and all
    /// of them.
    pub fn check(&self, token: &str) -> Option<Allowed> {
        let hash = credentials::hash(token);
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &Token| known.hash.iter().zip(hash).fold(0, |all, (a, b)| all | (a ^ b)) == 0;
        let mut found = None;
        for token in tokens.iter() {
            if same(token) {
                found = Some(Allowed { pool: token.pool.clone() });
            }
        }
        found
    }

    /// Takes the tokens of this text into use; true when they are others than before.
    pub fn reload(&self, text: &str) -> Result<bool, String> {
        let tokens = parse(text)?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != tokens;
        *known = tokens;
        Ok(changed)
    }
}

fn parse(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    for item in text.split([',', '\n', '\r']).map(str::trim).filter(|item| !item.is_empty()) {
        let (pool, token) = match item.split_once('=') {
            // Base64 may end in one.
            Some((pool, token)) if !token.trim_matches('=').is_empty() => {
                let pool = pool.trim().parse::<Pool>().map_err(|error| format!("before `=`: {error}"))?;
                (Some(pool), token.trim())
            }
            _ => (None, item),
        };
        if token.len() < MIN_LENGTH || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "a token has at least {MIN_LENGTH} visible ASCII characters, as `openssl rand -hex 32` makes them"
            ));
        }
        tokens.push(Token { hash: credentials::hash(token), pool });
    }
    match tokens.len() {
        0 => Err("holds no token".to_owned()),
        1..=MAX_TOKENS => Ok(tokens),
        _ => Err(format!("holds more than {MAX_TOKENS} tokens")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";

    fn tokens(text: &str) -> WorkerTokens {
        WorkerTokens::parse(&Secret::new(text)).unwrap()
    }

    #[test]
    fn two_tokens_are_good_during_a_rotation() {
        let tokens = tokens(&format!("{NEW}, {OLD}"));
        assert!(tokens.check(OLD).is_some() && tokens.check(NEW).is_some());
        for wrong in ["", &OLD[1..], &format!("{NEW},{OLD}"), "0123456789abcdef0123456789abcdeF"] {
            assert_eq!(tokens.check(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_may_be_for_one_pool() {
        let tokens = tokens(&format!("{OLD}\ngpu={NEW}\n"));
        let (default, gpu) = (Pool::default(), "gpu".parse().unwrap());
        let any = tokens.check(OLD).unwrap();
        assert!(any.pool(&default) && any.pool(&gpu));
        let one = tokens.check(NEW).unwrap();
        assert!(!one.pool(&default) && one.pool(&gpu));
    }

    #[test]
    fn weak_tokens_are_refused_without_being_told() {
        for weak in ["short", "", ",,", "gpu=short-one", "not a token because of its spaces, it is not"] {
            let error = WorkerTokens::parse(&Secret::new(weak)).err().unwrap();
            assert!(!error.contains("short"), "{error}");
        }
        let base64 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
        assert!(tokens(base64).check(base64).is_some(), "it may end like base64");
    }
}

//! Setting a forgotten password anew, with a mailed token that works once.

use std::time::Duration;

use crate::id::{ResetId, UserId};
use crate::identity::SecretHash;
use crate::time::Timestamp;

/// How long a mailed token works.
pub const LIFE: Duration = Duration::from_secs(60 * 60);

/// A request to set a password anew, as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordReset {
    pub id: ResetId,
    /// Counts writes; using it is a compare-and-set on it.
    pub version: u64,
    pub user: UserId,
    pub token_hash: SecretHash,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub used_at: Option<Timestamp>,
}

/// Used or expired; nobody is told which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this link does not work any more: ask for another one")]
pub struct ResetRefused;

impl PasswordReset {
    pub fn new(user: UserId, token_hash: SecretHash, now: Timestamp) -> Self {
        Self {
            id: ResetId::new(),
            version: 1,
            user,
            token_hash,
            created_at: now,
            expires_at: now + LIFE,
            used_at: None,
        }
    }

    /// Uses the token. Only whoever stored this may set the password.
    pub fn use_up(&self, now: Timestamp) -> Result<Self, ResetRefused> {
        if self.used_at.is_some() || self.expires_at <= now {
            return Err(ResetRefused);
        }
        Ok(Self { used_at: Some(now), version: self.version + 1, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_works_once_and_for_an_hour() {
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        let reset = PasswordReset::new(UserId::new(), [1; 32], at(0));
        let used = reset.use_up(at(59)).unwrap();
        assert_eq!((used.used_at, used.version), (Some(at(59)), 2));
        assert_eq!(used.use_up(at(59)), Err(ResetRefused));
        assert_eq!(reset.use_up(at(60)), Err(ResetRefused));
    }
}

//! A person's account. Whatever must end all its sessions at once (a new password, being disabled) raises its epoch: a
//! session belongs to the epoch it began in, so one write ends them all, also those that begin at the same moment.

use std::fmt;

use crate::id::UserId;
use crate::identity::Email;
use crate::time::Timestamp;

/// A person, whatever organizations they belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// Counts writes; every change is a compare-and-set on it.
    pub version: u64,
    /// Nobody else has it.
    pub email: Email,
    /// As others see it; empty when never given.
    pub name: String,
    pub password: PasswordHash,
    pub created_at: Timestamp,
    pub password_changed_at: Timestamp,
    /// Sessions of an earlier epoch are over.
    pub epoch: u64,
    pub disabled_at: Option<Timestamp>,
}

/// Argon2id in PHC form. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    pub fn from_phc(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl User {
    pub fn new(id: UserId, email: Email, name: String, password: PasswordHash, now: Timestamp) -> Self {
        Self {
            id,
            version: 1,
            email,
            name,
            password,
            created_at: now,
            password_changed_at: now,
            epoch: 0,
            disabled_at: None,
        }
    }

    fn next(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }

    pub fn is_disabled(&self) -> bool {
        self.disabled_at.is_some()
    }

    #[must_use]
    pub fn rename(&self, name: String) -> Self {
        Self { name, ..self.next() }
    }

    /// Storing it is refused when somebody has the address.
    #[must_use]
    pub fn move_to(&self, email: Email) -> Self {
        Self { email, ..self.next() }
    }

    /// Sets another password; every session is over.
    #[must_use]
    pub fn set_password(&self, password: PasswordHash, now: Timestamp) -> Self {
        Self { password, password_changed_at: now, ..self.sign_out_everywhere() }
    }

    /// Keeps the same password under stronger parameters; sessions stay.
    #[must_use]
    pub fn rehash(&self, password: PasswordHash) -> Self {
        Self { password, ..self.next() }
    }

    #[must_use]
    pub fn sign_out_everywhere(&self) -> Self {
        Self { epoch: self.epoch + 1, ..self.next() }
    }

    /// Lets nothing of this account work any more; sessions do not come back when it is enabled again.
    #[must_use]
    pub fn disable(&self, now: Timestamp) -> Self {
        Self { disabled_at: self.disabled_at.or(Some(now)), ..self.sign_out_everywhere() }
    }

    #[must_use]
    pub fn enable(&self) -> Self {
        Self { disabled_at: None, ..self.next() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_sessions_raises_the_epoch() {
        let now = Timestamp::from_millis(5);
        let hash = |text: &str| PasswordHash::from_phc(text);
        let user = User::new(UserId::new(), "a@b.c".parse().unwrap(), String::new(), hash("1"), now);
        assert_eq!((user.version, user.epoch, user.is_disabled()), (1, 0, false));
        let changed = user.set_password(hash("2"), Timestamp::from_millis(9));
        assert_eq!((changed.version, changed.epoch), (2, 1));
        assert_eq!(changed.password_changed_at, Timestamp::from_millis(9));
        let disabled = changed.disable(now);
        assert_eq!((disabled.epoch, disabled.disabled_at), (2, Some(now)));
        assert_eq!(
            disabled.disable(Timestamp::from_millis(8)).disabled_at,
            Some(now),
            "since the first time"
        );
        assert_eq!((disabled.enable().epoch, disabled.enable().is_disabled()), (2, false));
        assert_eq!(user.rehash(hash("3")).epoch, 0);
        assert_eq!(user.rename("Ann".into()).epoch, 0);
    }

    #[test]
    fn a_hash_is_not_shown() {
        assert!(!format!("{:?}", PasswordHash::from_phc("$argon2id$v=19$abc")).contains("argon2id"));
    }
}

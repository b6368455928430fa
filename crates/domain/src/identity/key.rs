//! API keys: a secret with a purpose, that belongs to a person and to one organization.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::{KeyId, OrganizationId, UserId};
use crate::identity::{SecretHash, User};
use crate::permission::{self, Permissions, Scope};
use crate::role::Role;
use crate::time::Timestamp;

/// When a key was last used is written down at most this often.
pub const USE_STEP: Duration = Duration::from_secs(60);

/// An API key as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: KeyId,
    /// Counts writes but those of `last_used_at`; every change is a compare-and-set on it.
    pub version: u64,
    pub organization: OrganizationId,
    /// The key can do what this member can, at most.
    pub owner: UserId,
    pub name: String,
    pub scopes: BTreeSet<Scope>,
    /// Nobody else has it.
    pub secret_hash: SecretHash,
    /// How the secret begins, to recognise it in a list; empty for keys from before this was kept.
    pub prefix: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// When the secret was last replaced.
    pub rotated_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
}

/// Why a key does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    #[error("the key was revoked")]
    Revoked,
    #[error("the key has expired")]
    Expired,
    #[error("the account of the key's owner is disabled")]
    OwnerDisabled,
    #[error("the key's owner does not belong to the organization any more")]
    OwnerGone,
}

impl ApiKey {
    /// A new key that lasts until somebody ends it.
    pub fn new(
        organization: OrganizationId,
        owner: UserId,
        name: impl Into<String>,
        scopes: impl IntoIterator<Item = Scope>,
        secret_hash: SecretHash,
        prefix: String,
        now: Timestamp,
    ) -> Self {
        Self {
            id: KeyId::new(),
            version: 1,
            organization,
            owner,
            name: name.into(),
            scopes: scopes.into_iter().collect(),
            secret_hash,
            prefix,
            created_at: now,
            expires_at: None,
            rotated_at: None,
            revoked_at: None,
            last_used_at: None,
        }
    }

    /// Whether the key itself works, whatever became of its owner.
    pub fn check(&self, now: Timestamp) -> Result<(), KeyRefused> {
        if self.revoked_at.is_some() {
            return Err(KeyRefused::Revoked);
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(KeyRefused::Expired);
        }
        Ok(())
    }

    /// What the key may do now: its scopes within what its owner is at this moment.
    pub fn permissions(
        &self,
        owner: Option<&User>,
        role: Option<Role>,
        now: Timestamp,
    ) -> Result<Permissions, KeyRefused> {
        self.check(now)?;
        let owner = owner.filter(|user| user.id == self.owner).ok_or(KeyRefused::OwnerGone)?;
        if owner.is_disabled() {
            return Err(KeyRefused::OwnerDisabled);
        }
        let role = role.ok_or(KeyRefused::OwnerGone)?;
        Ok(permission::of_key(&self.scopes, role))
    }

    /// The key is over, for good; again changes nothing but the version.
    #[must_use]
    pub fn revoke(&self, now: Timestamp) -> Self {
        let revoked_at = self.revoked_at.or(Some(now));
        Self { revoked_at, version: self.version + 1, ..self.clone() }
    }

    /// The same key with another secret; the old one stops at once. A key that is over stays over.
    pub fn rotate(
        &self,
        secret_hash: SecretHash,
        prefix: String,
        now: Timestamp,
    ) -> Result<Self, KeyRefused> {
        self.check(now)?;
        Ok(Self { secret_hash, prefix, rotated_at: Some(now), version: self.version + 1, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PasswordHash;
    use crate::permission::Permission;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn owner() -> User {
        User::new(UserId::new(), "a@b.c".parse().unwrap(), String::new(), PasswordHash::from_phc(""), at(0))
    }

    fn key(owner: &User) -> ApiKey {
        let scopes = [Scope::RunsWrite];
        let prefix = "gantry_12".into();
        let key = ApiKey::new(OrganizationId::new(), owner.id, "ci", scopes, [1; 32], prefix, at(0));
        ApiKey { expires_at: Some(at(100)), ..key }
    }

    #[test]
    fn a_key_works_as_long_as_it_and_its_owner_do() {
        let owner = owner();
        let key = key(&owner);
        let may = |key: &ApiKey, owner: Option<&User>, role, now| key.permissions(owner, role, at(now));
        let permissions = may(&key, Some(&owner), Some(Role::Member), 99).unwrap();
        assert!(
            permissions.contains(Permission::RunsCreate) && !permissions.contains(Permission::RunsDelete)
        );
        assert_eq!(may(&key, Some(&owner), Some(Role::Member), 100), Err(KeyRefused::Expired));
        assert_eq!(may(&key.revoke(at(1)), Some(&owner), Some(Role::Admin), 2), Err(KeyRefused::Revoked));
        assert_eq!(may(&key, Some(&owner), None, 2), Err(KeyRefused::OwnerGone));
        assert_eq!(may(&key, None, Some(Role::Admin), 2), Err(KeyRefused::OwnerGone));
        assert_eq!(may(&key, Some(&self::owner()), Some(Role::Admin), 2), Err(KeyRefused::OwnerGone));
        let disabled = owner.disable(at(1));
        assert_eq!(may(&key, Some(&disabled), Some(Role::Admin), 2), Err(KeyRefused::OwnerDisabled));
    }

    #[test]
    fn rotating_replaces_the_secret_and_revives_nothing() {
        let key = key(&owner());
        let rotated = key.rotate([2; 32], "gantry_34".into(), at(7)).unwrap();
        assert_eq!((rotated.secret_hash, rotated.rotated_at, rotated.version), ([2; 32], Some(at(7)), 2));
        let revoked = key.revoke(at(8));
        assert_eq!(revoked.revoke(at(9)).revoked_at, Some(at(8)));
        assert_eq!(revoked.rotate([2; 32], String::new(), at(9)), Err(KeyRefused::Revoked));
        assert_eq!(key.rotate([2; 32], String::new(), at(100)), Err(KeyRefused::Expired));
    }
}

//! What both backends need to know of the identity's values: each is kept as a versioned record, with fields beside it that
//! it is looked up by. A backend adds, finds and compares and sets them all in the same way.

use gantry_domain::id::{InvitationId, KeyId, OrganizationId, ResetId, SessionId, UserId};
use gantry_domain::identity::{ApiKey, Invitation, Organization, PasswordReset, SecretHash, Session, User};
use gantry_domain::time::Timestamp;

use crate::record::*;
use crate::{Result, StoreError};

/// An id in the forms that backends store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptId {
    pub bits: u128,
    pub text: String,
}

macro_rules! kept_ids {
    ($($kind:ty),*) => {$(
        impl From<$kind> for KeptId {
            fn from(id: $kind) -> Self {
                Self { bits: id.as_u128(), text: id.to_string() }
            }
        }
    )*};
}

kept_ids!(UserId, OrganizationId, KeyId, SessionId, InvitationId, ResetId);

/// A field beside a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Id(KeptId),
    Text(String),
    Hash(SecretHash),
    Time(Timestamp),
    /// There while something is so, absent otherwise: indexes on it hold only those.
    While(bool),
    /// As [`Field::While`].
    Since(Option<Timestamp>),
}

impl<T: Into<KeptId>> From<T> for Field {
    fn from(id: T) -> Self {
        Self::Id(id.into())
    }
}

/// A value of the identity as backends keep it. Its fields come always in the same order.
pub(crate) trait Kept: Clone + Send + Sync + 'static {
    /// For logs and metrics.
    const KIND: &'static str;

    fn id(&self) -> KeptId;
    fn version(&self) -> u64;
    fn fields(&self) -> Vec<(&'static str, Field)>;
    fn encode(&self) -> Result<Vec<u8>>;
    fn decode(record: &[u8]) -> Result<Self>;
}

impl Kept for User {
    const KIND: &'static str = "user";

    fn id(&self) -> KeptId {
        self.id.into()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn fields(&self) -> Vec<(&'static str, Field)> {
        vec![("email", Field::Text(self.email.as_str().to_owned()))]
    }

    fn encode(&self) -> Result<Vec<u8>> {
        encode_user(self)
    }

    fn decode(record: &[u8]) -> Result<Self> {
        decode_user(record)
    }
}

/// Each backend keeps the members beside it, in a form of its own.
impl Kept for Organization {
    const KIND: &'static str = "organization";

    fn id(&self) -> KeptId {
        self.id.into()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn fields(&self) -> Vec<(&'static str, Field)> {
        vec![("name", Field::Text(self.name.clone())), ("created_at", Field::Time(self.created_at))]
    }

    fn encode(&self) -> Result<Vec<u8>> {
        encode_organization(self)
    }

    fn decode(record: &[u8]) -> Result<Self> {
        decode_organization(record)
    }
}

/// When it was last used stands beside it and wins: uses conflict with nothing. Name, creation and revocation stand beside
/// it for producers of the version before, which may still run.
impl Kept for ApiKey {
    const KIND: &'static str = "api key";

    fn id(&self) -> KeptId {
        self.id.into()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn fields(&self) -> Vec<(&'static str, Field)> {
        vec![
            ("organization", self.organization.into()),
            ("owner", self.owner.into()),
            ("name", Field::Text(self.name.clone())),
            ("secret_hash", Field::Hash(self.secret_hash)),
            ("created_at", Field::Time(self.created_at)),
            ("revoked_at", Field::Since(self.revoked_at)),
        ]
    }

    fn encode(&self) -> Result<Vec<u8>> {
        encode_key(self)
    }

    fn decode(record: &[u8]) -> Result<Self> {
        decode_key(record)
    }
}

impl Kept for Session {
    const KIND: &'static str = "session";

    fn id(&self) -> KeptId {
        self.id.into()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn fields(&self) -> Vec<(&'static str, Field)> {
        vec![
            ("user", self.user.into()),
            ("family_hash", Field::Hash(self.family_hash)),
            ("expires_at", Field::Time(self.expires_at)),
            ("open", Field::While(self.ended.is_none())),
        ]
    }

    fn encode(&self) -> Result<Vec<u8>> {
        encode_session(self)
    }

    fn decode(record: &[u8]) -> Result<Self> {
        decode_session(record)
    }
}

impl Kept for Invitation {
    const KIND: &'static str = "invitation";

    fn id(&self) -> KeptId {
        self.id.into()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn fields(&self) -> Vec<(&'static str, Field)> {
        vec![
            ("organization", self.organization.into()),
            ("email", Field::Text(self.email.as_str().to_owned())),
            ("token_hash", Field::Hash(self.token_hash)),
            ("open", Field::While(self.is_open())),
        ]
    }

    fn encode(&self) -> Result<Vec<u8>> {
        encode_invitation(self)
    }

    fn decode(record: &[u8]) -> Result<Self> {
        decode_invitation(record)
    }
}

impl Kept for PasswordReset {
    const KIND: &'static str = "password reset";

    fn id(&self) -> KeptId {
        self.id.into()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn fields(&self) -> Vec<(&'static str, Field)> {
        vec![
            ("user", self.user.into()),
            ("token_hash", Field::Hash(self.token_hash)),
            ("expires_at", Field::Time(self.expires_at)),
        ]
    }

    fn encode(&self) -> Result<Vec<u8>> {
        encode_reset(self)
    }

    fn decode(record: &[u8]) -> Result<Self> {
        decode_reset(record)
    }
}

/// One of several: an unreadable one hides no other.
pub(crate) fn sift<T>(kind: &'static str, id: &str, decoded: Result<T>) -> Result<Option<T>> {
    match decoded {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Corrupt(why)) => {
            tracing::error!(kind, id, why, "a stored document cannot be read and is left out");
            metrics::counter!("gantry_store_unreadable_total", "kind" => kind).increment(1);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

//! What both backends need to know of the identity's values and of projects: each is kept as a versioned record, with fields beside it that
//! it is looked up by. A backend adds, finds and compares and sets them all in the same way.

use gantry_domain::id::{InvitationId, KeyId, OrganizationId, ProjectId, ResetId, SessionId, UserId};
use gantry_domain::identity::{ApiKey, Invitation, Organization, PasswordReset, SecretHash, Session, User};
use gantry_domain::project::Project;
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

kept_ids!(UserId, OrganizationId, KeyId, SessionId, InvitationId, ResetId, ProjectId);

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

/// A value of the identity, or a project, as backends keep it. Its fields come always in the same order.
pub(crate) trait Kept: Clone + Send + Sync + 'static {
    /// For logs and metrics.
    const KIND: &'static str;

    fn id(&self) -> KeptId;
    fn version(&self) -> u64;
    fn fields(&self) -> Vec<(&'static str, Field)>;
    fn encode(&self) -> Result<Vec<u8>>;
    fn decode(record: &[u8]) -> Result<Self>;
}

macro_rules! kept {
    ($($(#[$doc:meta])* $kind:ty = $name:literal, $encode:ident, $decode:ident, |$value:ident| $fields:expr;)*) => {$(
        $(#[$doc])*
        impl Kept for $kind {
            const KIND: &'static str = $name;

            fn id(&self) -> KeptId {
                self.id.into()
            }

            fn version(&self) -> u64 {
                self.version
            }

            fn fields(&self) -> Vec<(&'static str, Field)> {
                let $value = self;
                $fields
            }

            fn encode(&self) -> Result<Vec<u8>> {
                $encode(self)
            }

            fn decode(record: &[u8]) -> Result<Self> {
                $decode(record)
            }
        }
    )*};
}

kept! {
    User = "user", encode_user, decode_user, |user| {
        vec![("email", Field::Text(user.email.as_str().to_owned()))]
    };
    /// Each backend keeps the members beside it, in a form of its own.
    Organization = "organization", encode_organization, decode_organization, |organization| {
        vec![
            ("name", Field::Text(organization.name.clone())),
            ("created_at", Field::Time(organization.created_at)),
        ]
    };
    /// When it was last used stands beside it and wins: uses conflict with nothing. Name, creation and revocation stand beside
    /// it for producers of the version before, which may still run.
    ApiKey = "api key", encode_key, decode_key, |key| {
        vec![
            ("organization", key.organization.into()),
            ("owner", key.owner.into()),
            ("name", Field::Text(key.name.clone())),
            ("secret_hash", Field::Hash(key.secret_hash)),
            ("created_at", Field::Time(key.created_at)),
            ("revoked_at", Field::Since(key.revoked_at)),
        ]
    };
    Session = "session", encode_session, decode_session, |session| {
        vec![
            ("user", session.user.into()),
            ("family_hash", Field::Hash(session.family_hash)),
            ("expires_at", Field::Time(session.expires_at)),
            ("open", Field::While(session.ended.is_none())),
        ]
    };
    Invitation = "invitation", encode_invitation, decode_invitation, |invitation| {
        vec![
            ("organization", invitation.organization.into()),
            ("email", Field::Text(invitation.email.as_str().to_owned())),
            ("token_hash", Field::Hash(invitation.token_hash)),
            ("open", Field::While(invitation.is_open())),
        ]
    };
    Project = "project", encode_project, decode_project, |project| {
        vec![
            ("organization", project.organization.into()),
            ("name", Field::Text(project.name.clone())),
            ("sealed", Field::While(!project.secrets.is_empty() || !project.registries.is_empty())),
            ("retention", Field::While(project.retention.is_some())),
        ]
    };
    PasswordReset = "password reset", encode_reset, decode_reset, |reset| {
        vec![
            ("user", reset.user.into()),
            ("token_hash", Field::Hash(reset.token_hash)),
            ("expires_at", Field::Time(reset.expires_at)),
        ]
    };
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

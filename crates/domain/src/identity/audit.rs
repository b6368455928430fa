//! The audit log: who did what to whom, from where, and whether it was let. Entries are only ever added.

use std::collections::BTreeMap;

use crate::id::{AuditId, OrganizationId};
use crate::run::Actor;
use crate::time::Timestamp;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Sorts by `at`.
    pub id: AuditId,
    pub at: Timestamp,
    /// Who may read it; `None`: it happened to no organization, such as a sign-in of nobody that is known.
    pub organization: Option<OrganizationId>,
    /// `None`: nobody who is known.
    pub actor: Option<Actor>,
    pub action: AuditAction,
    /// What it was done to: an id, or an address that no account has.
    pub target: Option<String>,
    /// Where the call came from.
    pub address: Option<String>,
    pub outcome: Outcome,
    /// What else matters, such as the roles before and after. Never a secret.
    pub detail: BTreeMap<String, String>,
}

impl AuditEntry {
    /// An entry that is complete but for what its builder methods add.
    pub fn new(action: AuditAction, outcome: Outcome, at: Timestamp) -> Self {
        Self {
            id: AuditId::at(at),
            at,
            organization: None,
            actor: None,
            action,
            target: None,
            address: None,
            outcome,
            detail: BTreeMap::new(),
        }
    }

    #[must_use]
    pub fn organization(self, organization: OrganizationId) -> Self {
        Self { organization: Some(organization), ..self }
    }

    #[must_use]
    pub fn by(self, actor: Actor) -> Self {
        Self { actor: Some(actor), ..self }
    }

    #[must_use]
    pub fn to(self, target: impl ToString) -> Self {
        Self { target: Some(target.to_string()), ..self }
    }

    #[must_use]
    pub fn from_address(self, address: impl ToString) -> Self {
        Self { address: Some(address.to_string()), ..self }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.detail.insert(name.to_owned(), value.to_string());
        self
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Done,
    /// Not allowed, or the credential was wrong.
    Refused,
    /// Allowed, and did not work.
    Failed,
}

impl Outcome {
    pub const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Failed];

    /// The stable name used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == name)
    }
}

macro_rules! actions {
    ($($name:ident = $text:literal;)*) => {
        /// What was done.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum AuditAction {
            $($name,)*
            /// Written by a newer version; its name.
            Other(String),
        }

        impl AuditAction {
            /// Those this version writes.
            pub const KNOWN: &'static [Self] = &[$(Self::$name,)*];

            /// The stable name used on the wire and in the store.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(name) => name,
                }
            }

            /// What a stored name means.
            pub fn named(name: &str) -> Self {
                match name {
                    $($text => Self::$name,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

actions! {
    SignUp = "sign_up";
    SignIn = "sign_in";
    SignOut = "sign_out";
    TokenReused = "token_reused";
    SessionRevoked = "session_revoked";
    ProfileChanged = "profile_changed";
    PasswordChanged = "password_changed";
    PasswordForgotten = "password_forgotten";
    PasswordReset = "password_reset";
    UserDisabled = "user_disabled";
    UserEnabled = "user_enabled";
    OrganizationCreated = "organization_created";
    OrganizationChanged = "organization_changed";
    MemberJoined = "member_joined";
    MemberRoleChanged = "member_role_changed";
    MemberRemoved = "member_removed";
    InvitationCreated = "invitation_created";
    InvitationSentAgain = "invitation_sent_again";
    InvitationRevoked = "invitation_revoked";
    InvitationAccepted = "invitation_accepted";
    KeyCreated = "key_created";
    KeyRotated = "key_rotated";
    KeyRevoked = "key_revoked";
    ProjectCreated = "project_created";
    ProjectChanged = "project_changed";
    ProjectDeleted = "project_deleted";
    VariableSet = "variable_set";
    VariableDeleted = "variable_deleted";
    SecretSet = "secret_set";
    SecretDeleted = "secret_deleted";
    RunCancelled = "run_cancelled";
    RunDeleted = "run_deleted";
    WorkerDrained = "worker_drained";
    WorkerUndrained = "worker_undrained";
    AuditExported = "audit_exported";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_and_newer_ones_are_kept() {
        let names: std::collections::BTreeSet<_> =
            AuditAction::KNOWN.iter().map(AuditAction::as_str).collect();
        assert_eq!(names.len(), AuditAction::KNOWN.len());
        for action in AuditAction::KNOWN {
            assert_eq!(AuditAction::named(action.as_str()), *action);
        }
        assert_eq!(AuditAction::named("moon_landed").as_str(), "moon_landed");
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::parse(outcome.as_str()), Some(outcome));
        }
    }
}

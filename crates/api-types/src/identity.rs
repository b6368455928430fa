//! People, their organizations and their credentials.

use std::collections::BTreeMap;
use std::fmt;

use gantry_domain::id::{AuditId, InvitationId, KeyId, OrganizationId, SessionId, UserId};
use gantry_domain::permission::Scope;
use gantry_domain::role::Role;
use gantry_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A text that its holder alone may see: a password, or a token. Shown nowhere, not even in errors.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = Password)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Who wants to sign up. A link to go on comes by mail.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUp {
    #[schema(example = "ann@example.com")]
    pub email: String,
}

/// The rest of signing up.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmSignUp {
    /// From the mail.
    pub token: Hidden,
    /// 8 to 128 characters, none of the most common ones.
    pub password: Hidden,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name of the organization to begin.
    #[schema(example = "Example GmbH")]
    pub organization: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}

/// How the refresh token reaches the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// As a cookie that scripts cannot read: for browsers.
    Cookie,
    /// In the answer: for programs.
    Body,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    pub email: String,
    pub password: Hidden,
    /// Where to work; the one belonged to longest if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// `cookie` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}

/// A refresh token, unless the cookie carries it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Hidden>,
}

/// The organization to work in from now on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    pub organization: String,
}

/// What signing in gives.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignedIn {
    /// For `Authorization: Bearer`.
    pub access_token: Hidden,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// With delivery `body` only. Good for one use.
    pub refresh_token: Option<Hidden>,
    pub user: User,
    /// Where the session works; `null` for somebody who belongs to no organization.
    pub organization: Option<Membership>,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct User {
    #[schema(value_type = String)]
    pub id: UserId,
    pub email: String,
    /// Empty when never given.
    pub name: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// An organization somebody belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Membership {
    #[schema(value_type = String)]
    pub id: OrganizationId,
    pub name: String,
    #[schema(value_type = RoleName)]
    pub role: Role,
}

/// What a member may be.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code, reason = "for the document")]
pub enum RoleName {
    Viewer,
    Member,
    Maintainer,
    Admin,
}

/// Who calls.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// Of a key: its owner.
    pub user: User,
    /// Where the credential is good; `null` for somebody who belongs to no organization.
    pub organization: Option<Membership>,
    /// What the credential allows there.
    #[schema(example = json!(["runs.read", "runs.create"]))]
    pub permissions: Vec<String>,
    /// All that the person belongs to; of a key: the one it is good for.
    pub organizations: Vec<Membership>,
    /// The key that was presented; `null` for a person.
    pub key: Option<ApiKey>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMe {
    pub name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    pub current: Hidden,
    pub new: Hidden,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgotPassword {
    pub email: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// From the mail.
    pub token: Hidden,
    pub password: Hidden,
}

/// A sign-in that goes on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    #[schema(value_type = String)]
    pub id: SessionId,
    /// The one that asks.
    pub current: bool,
    pub address: String,
    pub agent: String,
    #[schema(value_type = String, format = DateTime)]
    pub begun_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub refreshed_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Sessions {
    /// Newest first, 100 at most.
    pub items: Vec<Session>,
}

/// A tenant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Organization {
    #[schema(value_type = String)]
    pub id: OrganizationId,
    pub name: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub members: usize,
    /// What whoever operates the installation set for this organization; `null` is the installation's own limit.
    pub limits: Limits,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    pub api_per_minute: Option<u32>,
    pub run_creations_per_minute: Option<u32>,
    pub concurrent_runs: Option<u32>,
    pub queued_runs: Option<u32>,
    pub artifact_bytes: Option<u64>,
    pub log_bytes: Option<u64>,
}

/// A new name, or a new organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NameOrganization {
    pub name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Member {
    pub user: User,
    #[schema(value_type = RoleName)]
    pub role: Role,
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRole {
    #[schema(value_type = RoleName)]
    pub role: Role,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    pub email: String,
    #[schema(value_type = RoleName)]
    pub role: Role,
}

/// What became of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvitationStatus {
    Open,
    Expired,
    Accepted,
    Revoked,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    #[schema(value_type = String)]
    pub id: InvitationId,
    pub email: String,
    #[schema(value_type = RoleName)]
    pub role: Role,
    pub status: InvitationStatus,
    #[schema(value_type = String)]
    pub invited_by: UserId,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the link that works was mailed.
    #[schema(value_type = String, format = DateTime)]
    pub sent_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// A token from an invitation's mail.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LookUpInvitation {
    pub token: Hidden,
}

/// What somebody is invited to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InvitedTo {
    pub organization: String,
    /// Name or address of whoever invites.
    pub invited_by: String,
    pub email: String,
    #[schema(value_type = RoleName)]
    pub role: Role,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Whether this address has an account: sign in to accept. Else accepting makes one.
    pub has_account: bool,
}

/// Accepts as the one who is signed in, or makes an account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    pub token: Hidden,
    /// For a new account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Hidden>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}

/// What a key can be made for.
#[derive(ToSchema)]
#[allow(dead_code, reason = "for the document")]
pub enum ScopeName {
    #[schema(rename = "runs:read")]
    RunsRead,
    #[schema(rename = "runs:write")]
    RunsWrite,
    #[schema(rename = "workers:read")]
    WorkersRead,
    #[schema(rename = "workers:write")]
    WorkersWrite,
    #[schema(rename = "projects:read")]
    ProjectsRead,
    #[schema(rename = "projects:write")]
    ProjectsWrite,
    #[schema(rename = "organization:read")]
    OrganizationRead,
    #[schema(rename = "audit:read")]
    AuditRead,
    #[schema(rename = "system:read")]
    SystemRead,
    #[schema(rename = "admin")]
    Admin,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    #[schema(example = "ci of the web shop")]
    pub name: String,
    /// What it is for. It can never do more than its owner.
    #[schema(value_type = Vec<ScopeName>)]
    pub scopes: Vec<Scope>,
    /// 1 to 3650; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    #[schema(value_type = String)]
    pub id: KeyId,
    pub name: String,
    #[schema(value_type = String)]
    pub owner: UserId,
    #[schema(value_type = Vec<ScopeName>)]
    pub scopes: Vec<Scope>,
    /// How the secret begins.
    pub prefix: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub rotated_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// To the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
}

/// A key with its secret, which is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewKey {
    pub key: ApiKey,
    pub secret: Hidden,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    #[schema(value_type = String)]
    pub id: AuditId,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// A person's or key's id; `null`: nobody who is known.
    pub actor: Option<String>,
    #[schema(example = "member_role_changed")]
    pub action: String,
    /// What it was done to.
    pub target: Option<String>,
    /// Where the call came from.
    pub address: Option<String>,
    /// `done`, `refused` or `failed`.
    pub outcome: String,
    pub detail: BTreeMap<String, String>,
}

use gantry_domain::id::{InvitationId, OrganizationId, UserId};
use gantry_domain::identity::invitation::InvitationState;
use gantry_domain::identity::{
    Email, Invitation, Member, Organization, OrganizationLimits, PasswordHash, User,
};
use gantry_domain::role::Role;
use serde::{Deserialize, Serialize};

use super::{Hex, Millis, Record, VERSION, is_default, read, write};
use crate::Result;

#[derive(Serialize, Deserialize)]
struct UserRecord {
    v: u32,
    id: UserId,
    version: u64,
    email: Email,
    #[serde(default, skip_serializing_if = "is_default")]
    name: String,
    password: String,
    created_at: Millis,
    password_changed_at: Millis,
    #[serde(default, skip_serializing_if = "is_default")]
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disabled_at: Option<Millis>,
}

impl Record for UserRecord {
    const KIND: &'static str = "user";
    fn version(&self) -> u32 {
        self.v
    }
}

pub(crate) fn encode_user(user: &User) -> Result<Vec<u8>> {
    write(&UserRecord {
        v: VERSION,
        id: user.id,
        version: user.version,
        email: user.email.clone(),
        name: user.name.clone(),
        password: user.password.as_str().to_owned(),
        created_at: user.created_at.into(),
        password_changed_at: user.password_changed_at.into(),
        epoch: user.epoch,
        disabled_at: user.disabled_at.map(Millis::from),
    })
}

pub(crate) fn decode_user(document: &[u8]) -> Result<User> {
    let record: UserRecord = read(document)?;
    Ok(User {
        id: record.id,
        version: record.version,
        email: record.email,
        name: record.name,
        password: PasswordHash::from_phc(record.password),
        created_at: record.created_at.into(),
        password_changed_at: record.password_changed_at.into(),
        epoch: record.epoch,
        disabled_at: record.disabled_at.map(Into::into),
    })
}

#[derive(Serialize, Deserialize)]
struct OrganizationRecord {
    v: u32,
    id: OrganizationId,
    version: u64,
    name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    limits: LimitsRecord,
    created_at: Millis,
    members: Vec<MemberRecord>,
}

#[derive(Serialize, Deserialize)]
struct MemberRecord {
    user: UserId,
    role: Role,
    since: Millis,
}

#[derive(Serialize, Deserialize, Default, PartialEq)]
struct LimitsRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    api_per_minute: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_creations_per_minute: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    concurrent_runs: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queued_runs: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_bytes: Option<u64>,
}

impl Record for OrganizationRecord {
    const KIND: &'static str = "organization";
    fn version(&self) -> u32 {
        self.v
    }
}

pub(crate) fn encode_organization(organization: &Organization) -> Result<Vec<u8>> {
    let limits = organization.limits;
    let member =
        |member: &Member| MemberRecord { user: member.user, role: member.role, since: member.since.into() };
    write(&OrganizationRecord {
        v: VERSION,
        id: organization.id,
        version: organization.version,
        name: organization.name.clone(),
        limits: LimitsRecord {
            api_per_minute: limits.api_per_minute,
            run_creations_per_minute: limits.run_creations_per_minute,
            concurrent_runs: limits.concurrent_runs,
            queued_runs: limits.queued_runs,
            artifact_bytes: limits.artifact_bytes,
            log_bytes: limits.log_bytes,
        },
        created_at: organization.created_at.into(),
        members: organization.members().iter().map(member).collect(),
    })
}

pub(crate) fn decode_organization(document: &[u8]) -> Result<Organization> {
    let record: OrganizationRecord = read(document)?;
    let member =
        |member: MemberRecord| Member { user: member.user, role: member.role, since: member.since.into() };
    let limits = OrganizationLimits {
        api_per_minute: record.limits.api_per_minute,
        run_creations_per_minute: record.limits.run_creations_per_minute,
        concurrent_runs: record.limits.concurrent_runs,
        queued_runs: record.limits.queued_runs,
        artifact_bytes: record.limits.artifact_bytes,
        log_bytes: record.limits.log_bytes,
    };
    let members = record.members.into_iter().map(member).collect();
    Ok(Organization::stored(
        record.id,
        record.version,
        record.name,
        limits,
        record.created_at.into(),
        members,
    ))
}

#[derive(Serialize, Deserialize)]
struct InvitationRecord {
    v: u32,
    id: InvitationId,
    version: u64,
    organization: OrganizationId,
    email: Email,
    role: Role,
    invited_by: UserId,
    token_hash: Hex,
    created_at: Millis,
    sent_at: Millis,
    expires_at: Millis,
    state: StateRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateRecord {
    Open,
    Accepting { user: UserId, at: Millis },
    Accepted { user: UserId, at: Millis },
    Revoked { at: Millis },
}

impl Record for InvitationRecord {
    const KIND: &'static str = "invitation";
    fn version(&self) -> u32 {
        self.v
    }
}

pub(crate) fn encode_invitation(invitation: &Invitation) -> Result<Vec<u8>> {
    let state = match invitation.state {
        InvitationState::Open => StateRecord::Open,
        InvitationState::Accepting { user, at } => StateRecord::Accepting { user, at: at.into() },
        InvitationState::Accepted { user, at } => StateRecord::Accepted { user, at: at.into() },
        InvitationState::Revoked { at } => StateRecord::Revoked { at: at.into() },
    };
    write(&InvitationRecord {
        v: VERSION,
        id: invitation.id,
        version: invitation.version,
        organization: invitation.organization,
        email: invitation.email.clone(),
        role: invitation.role,
        invited_by: invitation.invited_by,
        token_hash: Hex(invitation.token_hash),
        created_at: invitation.created_at.into(),
        sent_at: invitation.sent_at.into(),
        expires_at: invitation.expires_at.into(),
        state,
    })
}

pub(crate) fn decode_invitation(document: &[u8]) -> Result<Invitation> {
    let record: InvitationRecord = read(document)?;
    let state = match record.state {
        StateRecord::Open => InvitationState::Open,
        StateRecord::Accepting { user, at } => InvitationState::Accepting { user, at: at.into() },
        StateRecord::Accepted { user, at } => InvitationState::Accepted { user, at: at.into() },
        StateRecord::Revoked { at } => InvitationState::Revoked { at: at.into() },
    };
    Ok(Invitation {
        id: record.id,
        version: record.version,
        organization: record.organization,
        email: record.email,
        role: record.role,
        invited_by: record.invited_by,
        token_hash: record.token_hash.0,
        created_at: record.created_at.into(),
        sent_at: record.sent_at.into(),
        expires_at: record.expires_at.into(),
        state,
    })
}

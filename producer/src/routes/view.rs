//! People, organizations and credentials as the API shows them.

use gantry_api_types::identity as wire;
use gantry_domain::id::SessionId;
use gantry_domain::identity::invitation::InvitationState;
use gantry_domain::identity::{
    ApiKey, AuditEntry, Invitation, Member, Organization, OrganizationLimits, Session, User,
};
use gantry_domain::role::Role;
use gantry_domain::time::Timestamp;

pub fn user(user: &User) -> wire::User {
    wire::User {
        id: user.id,
        email: user.email.to_string(),
        name: user.name.clone(),
        created_at: user.created_at,
    }
}

pub fn membership(organization: &Organization, role: Role) -> wire::Membership {
    wire::Membership { id: organization.id, name: organization.name.clone(), role }
}

pub fn member(member: &Member, of: &User) -> wire::Member {
    wire::Member { user: user(of), role: member.role, since: member.since }
}

pub fn organization(organization: &Organization) -> wire::Organization {
    wire::Organization {
        id: organization.id,
        name: organization.name.clone(),
        created_at: organization.created_at,
        members: organization.members().len(),
        limits: limits(organization.limits),
    }
}

fn limits(limits: OrganizationLimits) -> wire::Limits {
    wire::Limits {
        api_per_minute: limits.api_per_minute,
        run_creations_per_minute: limits.run_creations_per_minute,
        concurrent_runs: limits.concurrent_runs,
        queued_runs: limits.queued_runs,
        artifact_bytes: limits.artifact_bytes,
        log_bytes: limits.log_bytes,
    }
}

pub fn session(session: &Session, current: SessionId) -> wire::Session {
    wire::Session {
        id: session.id,
        current: session.id == current,
        address: session.client.address.clone(),
        agent: session.client.agent.clone(),
        begun_at: session.begun_at,
        refreshed_at: session.refreshed_at,
        expires_at: session.expires_at,
    }
}

pub fn invitation(invitation: &Invitation, now: Timestamp) -> wire::Invitation {
    let status = match invitation.state {
        InvitationState::Open if invitation.expires_at <= now => wire::InvitationStatus::Expired,
        InvitationState::Open => wire::InvitationStatus::Open,
        InvitationState::Accepting { .. } | InvitationState::Accepted { .. } => {
            wire::InvitationStatus::Accepted
        }
        InvitationState::Revoked { .. } => wire::InvitationStatus::Revoked,
    };
    wire::Invitation {
        id: invitation.id,
        email: invitation.email.to_string(),
        role: invitation.role,
        status,
        invited_by: invitation.invited_by,
        created_at: invitation.created_at,
        sent_at: invitation.sent_at,
        expires_at: invitation.expires_at,
    }
}

pub fn key(key: &ApiKey) -> wire::ApiKey {
    wire::ApiKey {
        id: key.id,
        name: key.name.clone(),
        owner: key.owner,
        scopes: key.scopes.iter().copied().collect(),
        prefix: key.prefix.clone(),
        created_at: key.created_at,
        expires_at: key.expires_at,
        rotated_at: key.rotated_at,
        revoked_at: key.revoked_at,
        last_used_at: key.last_used_at,
    }
}

pub fn audit(entry: &AuditEntry) -> wire::AuditEntry {
    wire::AuditEntry {
        id: entry.id,
        at: entry.at,
        actor: entry.actor.map(|actor| actor.to_string()),
        action: entry.action.as_str().to_owned(),
        target: entry.target.clone(),
        address: entry.address.clone(),
        outcome: entry.outcome.as_str().to_owned(),
        detail: entry.detail.clone(),
    }
}

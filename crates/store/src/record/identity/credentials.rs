use std::collections::BTreeSet;

use gantry_domain::id::{KeyId, OrganizationId, ResetId, SessionId, UserId};
use gantry_domain::identity::session::{Client, Ended, EndedWhy};
use gantry_domain::identity::{ApiKey, PasswordReset, Session};
use gantry_domain::permission::Scope;
use serde::{Deserialize, Serialize};

use super::{Hex, Millis, Record, VERSION, is_default, read, write};
use crate::Result;

#[derive(Serialize, Deserialize)]
struct KeyRecord {
    v: u32,
    id: KeyId,
    version: u64,
    organization: OrganizationId,
    owner: UserId,
    name: String,
    scopes: BTreeSet<Scope>,
    secret_hash: Hex,
    #[serde(default, skip_serializing_if = "is_default")]
    prefix: String,
    created_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotated_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Millis>,
}

impl Record for KeyRecord {
    const KIND: &'static str = "api key";
    fn version(&self) -> u32 {
        self.v
    }
}

/// Without when it was last used.
pub(crate) fn encode_key(key: &ApiKey) -> Result<Vec<u8>> {
    write(&KeyRecord {
        v: VERSION,
        id: key.id,
        version: key.version,
        organization: key.organization,
        owner: key.owner,
        name: key.name.clone(),
        scopes: key.scopes.clone(),
        secret_hash: Hex(key.secret_hash),
        prefix: key.prefix.clone(),
        created_at: key.created_at.into(),
        expires_at: key.expires_at.map(Millis::from),
        rotated_at: key.rotated_at.map(Millis::from),
        revoked_at: key.revoked_at.map(Millis::from),
    })
}

pub(crate) fn decode_key(document: &[u8]) -> Result<ApiKey> {
    let record: KeyRecord = read(document)?;
    Ok(ApiKey {
        id: record.id,
        version: record.version,
        organization: record.organization,
        owner: record.owner,
        name: record.name,
        scopes: record.scopes,
        secret_hash: record.secret_hash.0,
        prefix: record.prefix,
        created_at: record.created_at.into(),
        expires_at: record.expires_at.map(Into::into),
        rotated_at: record.rotated_at.map(Into::into),
        revoked_at: record.revoked_at.map(Into::into),
        last_used_at: None,
    })
}

#[derive(Serialize, Deserialize)]
struct SessionRecord {
    v: u32,
    id: SessionId,
    version: u64,
    user: UserId,
    #[serde(default, skip_serializing_if = "is_default")]
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organization: Option<OrganizationId>,
    family_hash: Hex,
    current_hash: Hex,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_hash: Option<Hex>,
    #[serde(default, skip_serializing_if = "is_default")]
    address: String,
    #[serde(default, skip_serializing_if = "is_default")]
    agent: String,
    begun_at: Millis,
    refreshed_at: Millis,
    expires_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<EndedRecord>,
}

#[derive(Serialize, Deserialize)]
struct EndedRecord {
    at: Millis,
    why: WhyRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WhyRecord {
    SignedOut,
    Revoked,
    Reused,
}

impl Record for SessionRecord {
    const KIND: &'static str = "session";
    fn version(&self) -> u32 {
        self.v
    }
}

pub(crate) fn encode_session(session: &Session) -> Result<Vec<u8>> {
    let ended = session.ended.map(|ended| EndedRecord {
        at: ended.at.into(),
        why: match ended.why {
            EndedWhy::SignedOut => WhyRecord::SignedOut,
            EndedWhy::Revoked => WhyRecord::Revoked,
            EndedWhy::Reused => WhyRecord::Reused,
        },
    });
    write(&SessionRecord {
        v: VERSION,
        id: session.id,
        version: session.version,
        user: session.user,
        epoch: session.epoch,
        organization: session.organization,
        family_hash: Hex(session.family_hash),
        current_hash: Hex(session.current_hash),
        previous_hash: session.previous_hash.map(Hex),
        address: session.client.address.clone(),
        agent: session.client.agent.clone(),
        begun_at: session.begun_at.into(),
        refreshed_at: session.refreshed_at.into(),
        expires_at: session.expires_at.into(),
        ended,
    })
}

pub(crate) fn decode_session(document: &[u8]) -> Result<Session> {
    let record: SessionRecord = read(document)?;
    let ended = record.ended.map(|ended| Ended {
        at: ended.at.into(),
        why: match ended.why {
            WhyRecord::SignedOut => EndedWhy::SignedOut,
            WhyRecord::Revoked => EndedWhy::Revoked,
            WhyRecord::Reused => EndedWhy::Reused,
        },
    });
    Ok(Session {
        id: record.id,
        version: record.version,
        user: record.user,
        epoch: record.epoch,
        organization: record.organization,
        family_hash: record.family_hash.0,
        current_hash: record.current_hash.0,
        previous_hash: record.previous_hash.map(|hash| hash.0),
        client: Client { address: record.address, agent: record.agent },
        begun_at: record.begun_at.into(),
        refreshed_at: record.refreshed_at.into(),
        expires_at: record.expires_at.into(),
        ended,
    })
}

#[derive(Serialize, Deserialize)]
struct ResetRecord {
    v: u32,
    id: ResetId,
    version: u64,
    user: UserId,
    token_hash: Hex,
    created_at: Millis,
    expires_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_at: Option<Millis>,
}

impl Record for ResetRecord {
    const KIND: &'static str = "password reset";
    fn version(&self) -> u32 {
        self.v
    }
}

pub(crate) fn encode_reset(reset: &PasswordReset) -> Result<Vec<u8>> {
    write(&ResetRecord {
        v: VERSION,
        id: reset.id,
        version: reset.version,
        user: reset.user,
        token_hash: Hex(reset.token_hash),
        created_at: reset.created_at.into(),
        expires_at: reset.expires_at.into(),
        used_at: reset.used_at.map(Millis::from),
    })
}

pub(crate) fn decode_reset(document: &[u8]) -> Result<PasswordReset> {
    let record: ResetRecord = read(document)?;
    Ok(PasswordReset {
        id: record.id,
        version: record.version,
        user: record.user,
        token_hash: record.token_hash.0,
        created_at: record.created_at.into(),
        expires_at: record.expires_at.into(),
        used_at: record.used_at.map(Into::into),
    })
}

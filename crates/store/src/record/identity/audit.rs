use std::collections::BTreeMap;

use gantry_domain::id::{AuditId, OrganizationId};
use gantry_domain::identity::{AuditAction, AuditEntry, Outcome};
use gantry_domain::run::Actor;
use serde::{Deserialize, Serialize};

use super::{Millis, Record, VERSION, read, write};
use crate::{Result, StoreError};

#[derive(Serialize, Deserialize)]
struct EntryRecord {
    v: u32,
    id: AuditId,
    at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organization: Option<OrganizationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<Actor>,
    action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    outcome: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    detail: BTreeMap<String, String>,
}

impl Record for EntryRecord {
    const KIND: &'static str = "audit";
    fn version(&self) -> u32 {
        self.v
    }
}

pub(crate) fn encode_entry(entry: &AuditEntry) -> Result<Vec<u8>> {
    write(&EntryRecord {
        v: VERSION,
        id: entry.id,
        at: entry.at.into(),
        organization: entry.organization,
        actor: entry.actor,
        action: entry.action.as_str().to_owned(),
        target: entry.target.clone(),
        address: entry.address.clone(),
        outcome: entry.outcome.as_str().to_owned(),
        detail: entry.detail.clone(),
    })
}

pub(crate) fn decode_entry(document: &[u8]) -> Result<AuditEntry> {
    let record: EntryRecord = read(document)?;
    let unknown = || StoreError::Corrupt(format!("an audit record has the outcome {:?}", record.outcome));
    Ok(AuditEntry {
        id: record.id,
        at: record.at.into(),
        organization: record.organization,
        actor: record.actor,
        action: AuditAction::named(&record.action),
        target: record.target,
        address: record.address,
        outcome: Outcome::parse(&record.outcome).ok_or_else(unknown)?,
        detail: record.detail,
    })
}

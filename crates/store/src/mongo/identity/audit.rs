use async_trait::async_trait;
use gantry_domain::id::{AuditId, OrganizationId};
use gantry_domain::identity::AuditEntry;
use gantry_domain::run::Actor;
use mongodb::bson::{RawDocument, doc};

use super::super::document::{record_text, text};
use super::super::schema::{AUDIT_BY_ACTION, AUDIT_BY_ACTOR, AUDIT_BY_BOTH, AUDIT_BY_ORGANIZATION};
use super::super::{Mongo, names};
use super::page;
use crate::record::{decode_entry, encode_entry};
use crate::{AuditFilter, AuditStore, Page, Result};

/// Nothing stands for none: an index finds both alike.
fn tenant(organization: Option<OrganizationId>) -> String {
    organization.map(|id| id.to_string()).unwrap_or_default()
}

fn name(actor: Option<Actor>) -> String {
    actor.map(|actor| actor.to_string()).unwrap_or_default()
}

fn read(document: &RawDocument) -> Result<AuditEntry> {
    decode_entry(text(document, "record")?.as_bytes())
}

#[async_trait]
impl AuditStore for Mongo {
    async fn append(&self, entry: &AuditEntry) -> Result<()> {
        let record = record_text("an audit", encode_entry(entry)?)?;
        let document = doc! {
            "_id": entry.id.to_string(),
            "organization": tenant(entry.organization),
            "actor": name(entry.actor),
            "action": entry.action.as_str(),
            "record": record,
        };
        self.core.insert_new(&self.core.call(), names::AUDIT, &document).await
    }

    async fn list(
        &self,
        organization: Option<OrganizationId>,
        filter: &AuditFilter,
        after: Option<AuditId>,
        limit: u32,
    ) -> Result<Page<AuditEntry, AuditId>> {
        let (from, below) = filter.range(after);
        let mut wanted = doc! { "organization": tenant(organization) };
        if let Some(actor) = filter.actor {
            wanted.insert("actor", actor.to_string());
        }
        if let Some(action) = &filter.action {
            wanted.insert("action", action.as_str());
        }
        wanted.insert("_id", doc! { "$gte": from.to_string(), "$lt": below.to_string() });
        let index = match (&filter.actor, &filter.action) {
            (None, None) => AUDIT_BY_ORGANIZATION,
            (Some(_), None) => AUDIT_BY_ACTOR,
            (None, Some(_)) => AUDIT_BY_ACTION,
            (Some(_), Some(_)) => AUDIT_BY_BOTH,
        };
        let found = self.core.newest(names::AUDIT, wanted, index, limit).await?;
        page("audit", found, limit, read)
    }
}

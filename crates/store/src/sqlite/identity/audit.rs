use async_trait::async_trait;
use gantry_domain::id::{AuditId, OrganizationId};
use gantry_domain::identity::{AuditAction, AuditEntry};
use gantry_domain::run::Actor;
use rusqlite::{Row, params};

use super::super::row::key;
use super::super::{Sqlite, statements as sql};
use super::{page, rows};
use crate::record::{decode_entry, encode_entry};
use crate::{AuditFilter, AuditStore, Durability, Page, Result};

/// Nothing stands for none: an index finds both alike.
fn tenant(organization: Option<OrganizationId>) -> Vec<u8> {
    organization.map(|id| key(id.as_u128()).to_vec()).unwrap_or_default()
}

fn name(actor: Option<Actor>) -> String {
    actor.map(|actor| actor.to_string()).unwrap_or_default()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<AuditEntry>> {
    Ok(decode_entry(row.get_ref(0)?.as_blob()?))
}

#[async_trait]
impl AuditStore for Sqlite {
    async fn append(&self, entry: &AuditEntry) -> Result<()> {
        let (id, organization, actor) =
            (key(entry.id.as_u128()), tenant(entry.organization), name(entry.actor));
        let (action, record) = (entry.action.as_str().to_owned(), encode_entry(entry)?);
        self.writer
            .write(Durability::Synced, move |writing| {
                let mut add = writing.connection.prepare_cached(sql::ADD_ENTRY)?;
                add.execute(params![id, organization, actor, action, record])?;
                Ok(())
            })
            .await
    }

    async fn list(
        &self,
        organization: Option<OrganizationId>,
        filter: &AuditFilter,
        after: Option<AuditId>,
        limit: u32,
    ) -> Result<Page<AuditEntry, AuditId>> {
        let (from, below) = filter.range(after);
        let (from, below) = (key(from.as_u128()), key(below.as_u128()));
        let count = limit.max(1).saturating_add(1);
        let tenant = tenant(organization);
        let actor = filter.actor.map(|actor| name(Some(actor)));
        let action = filter.action.as_ref().map(AuditAction::as_str).map(str::to_owned);
        let found = self
            .readers
            .read(move |connection| {
                let (first, kind) = (params![tenant, from, below, count], "audit");
                match (actor, action) {
                    (None, None) => rows(connection, sql::AUDIT, first, kind, read),
                    (Some(actor), None) => {
                        let params = params![tenant, from, below, count, actor];
                        rows(connection, sql::AUDIT_BY_ACTOR, params, kind, read)
                    }
                    (None, Some(action)) => {
                        let params = params![tenant, from, below, count, action];
                        rows(connection, sql::AUDIT_BY_ACTION, params, kind, read)
                    }
                    (Some(actor), Some(action)) => {
                        let params = params![tenant, from, below, count, actor, action];
                        rows(connection, sql::AUDIT_BY_BOTH, params, kind, read)
                    }
                }
            })
            .await?;
        Ok(page(found, limit, AuditId::from_u128))
    }
}

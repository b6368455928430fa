//! Writing down who did what. The entry comes after the deed: what did not happen is not told of.

use gantry_domain::id::OrganizationId;
use gantry_domain::identity::{AuditAction, AuditEntry, Outcome};
use gantry_domain::run::Actor;

use crate::access::Caller;
use crate::extract::request_id;
use crate::state::App;

/// Something that was done, by somebody in an organization.
pub fn done(app: &App, caller: &Caller, action: AuditAction) -> AuditEntry {
    by(app, caller.actor, Some(caller.organization), action)
}

/// Something that was done by somebody who is known.
pub fn by(app: &App, actor: Actor, organization: Option<OrganizationId>, action: AuditAction) -> AuditEntry {
    AuditEntry { organization, ..AuditEntry::new(action, Outcome::Done, app.now()).by(actor) }
}

/// Adds an entry, with where the request comes from. Where the store cannot, the log keeps it: the deed is done.
pub async fn write(app: &App, entry: AuditEntry) {
    let entry = match request_id::client() {
        Some(address) => entry.from_address(address),
        None => entry,
    };
    if let Err(error) = app.parts.stores.audit.append(&entry).await {
        metrics::counter!("gantry_audit_unwritten_total").increment(1);
        tracing::error!(
            %error, audit.id = %entry.id, audit.action = entry.action.as_str(), audit.actor = ?entry.actor,
            audit.target = ?entry.target, audit.address = ?entry.address, audit.outcome = entry.outcome.as_str(),
            audit.detail = ?entry.detail, org.id = ?entry.organization, "an entry of the audit log was not stored"
        );
    }
}

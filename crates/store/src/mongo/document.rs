//! A run as a BSON document: the record as its JSON text (its maps have keys that servers treat differently: dots,
//! dollars), and beside it the fields it is looked up by. A field that belongs to some states is absent in the others, so
//! that the indexes on it hold only runs in those states.

use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::{Hold, Run, RunState, RunStatus};
use gantry_domain::spec::Priority;
use gantry_domain::time::Timestamp;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawDocument, doc, spec::BinarySubtype};

use crate::record::{Head, decode_run, encode_run};
use crate::{Idempotency, Result, StoreError};

/// Writes whose id is remembered in the run, to tell a write that happened from one that did not.
const OPERATIONS: i32 = 4;

pub(super) fn time(time: Timestamp) -> DateTime {
    DateTime::from_millis(time.as_millis())
}

pub(super) fn timestamp(time: DateTime) -> Timestamp {
    Timestamp::from_millis(time.timestamp_millis())
}

pub(super) fn bytes(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
}

pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Smaller goes first.
pub(super) fn turn(priority: Priority) -> i32 {
    i32::from(Priority::Critical.rank() - priority.rank())
}

/// The fields of some states only.
const PASSING: [&str; 10] = [
    "live",
    "ready",
    "due_at",
    "limit",
    "queued_since",
    "worker",
    "lease_token",
    "lease_expires_at",
    "cancel",
    "log_due",
];

/// What a change of state brings with it.
fn passing(run: &Run) -> Document {
    let mut fields = Document::new();
    if !run.is_final() {
        fields.insert("live", run.status().as_str());
    }
    match &run.state {
        RunState::Pending { hold: Hold::Workers } => {
            fields.insert("ready", run.spec.pool.as_str());
        }
        RunState::Pending { hold: Hold::Due { at } } => {
            fields.insert("due_at", time(*at));
        }
        RunState::Pending { hold: Hold::Limit { key } } => {
            fields.insert("limit", key);
        }
        RunState::Queued { .. } => {
            fields.insert("queued_since", time(run.queued_at.unwrap_or(run.created_at)));
        }
        _ => {}
    }
    if let Some(lease) = run.state.lease() {
        fields.insert("worker", lease.worker.to_string());
        fields.insert("lease_token", lease.token.as_str());
        fields.insert("lease_expires_at", time(lease.expires_at));
    }
    if run.cancel.is_some() {
        fields.insert("cancel", true);
    }
    if let Some(at) = run.log_due() {
        fields.insert("log_due", time(at));
    }
    fields
}

/// A record as documents hold it; `what` begins with its article.
pub(super) fn record_text(what: &str, record: Vec<u8>) -> Result<String> {
    String::from_utf8(record).map_err(|_| StoreError::Corrupt(format!("{what} record is not text")))
}

fn record(run: &Run) -> Result<String> {
    record_text("a run", encode_run(run)?)
}

/// A new run's document; its `number` may be set later.
pub(super) fn new_document(run: &Run, operation: i64, idempotency: Option<&Idempotency>) -> Result<Document> {
    let mut document = doc! {
        "_id": run.id.to_string(),
        "organization": run.organization.to_string(),
        "number": integer(run.number),
        "version": integer(run.version),
        "status": run.status().as_str(),
        "pool": run.spec.pool.as_str(),
        "turn": turn(run.spec.priority),
        "created_at": time(run.created_at),
        "operations": [operation],
    };
    for (name, value) in
        [("project", &run.spec.project), ("environment", &run.spec.environment), ("group", &run.spec.group)]
    {
        if let Some(value) = value {
            document.insert(name, value);
        }
    }
    if let Some(Idempotency { key, body_hash }) = idempotency {
        document.insert("key", key);
        document.insert("key_hash", bytes(body_hash));
        document.insert("key_since", time(run.created_at));
    }
    document.extend(passing(run));
    document.insert("record", record(run)?);
    Ok(document)
}

/// The update that makes the stored run `next`. A renewal that came since `next` was computed is kept: a lease's token
/// never changes without a state without a lease in between, so the later expiry is the right one.
pub(super) fn change(next: &Run, operation: i64) -> Result<Document> {
    let mut set = doc! {
        "version": integer(next.version),
        "status": next.status().as_str(),
        "record": record(next)?,
    };
    let mut unset = Document::new();
    let mut passing = passing(next);
    let expiry = passing.remove("lease_expires_at");
    for name in PASSING {
        match passing.remove(name) {
            Some(value) => {
                set.insert(name, value);
            }
            None if name == "lease_expires_at" && expiry.is_some() => {}
            None => {
                unset.insert(name, "");
            }
        }
    }
    match &next.spec.group {
        Some(group) => set.insert("group", group),
        None => unset.insert("group", ""),
    };
    let mut update = doc! {
        "$set": set,
        "$unset": unset,
        "$push": { "operations": { "$each": [operation], "$slice": -OPERATIONS } },
    };
    if let Some(expiry) = expiry {
        update.insert("$max", doc! { "lease_expires_at": expiry });
    }
    Ok(update)
}

/// The fields that [`decode`] needs.
pub(super) fn projection() -> Document {
    doc! { "organization": 1, "number": 1, "version": 1, "lease_expires_at": 1, "record": 1 }
}

pub(super) fn bad(document: &RawDocument, field: &str) -> StoreError {
    let id = document.get_str("_id").unwrap_or("?");
    StoreError::Corrupt(format!("document {id} has no usable field {field:?}"))
}

pub(super) fn text<'a>(document: &'a RawDocument, field: &str) -> Result<&'a str> {
    document.get_str(field).map_err(|_| bad(document, field))
}

pub(super) fn number(document: &RawDocument, field: &str) -> Result<u64> {
    let value = match document.get(field) {
        Ok(Some(value)) => {
            value.as_i64().or(value.as_i32().map(i64::from)).or(value.as_f64().map(|n| n as i64))
        }
        _ => None,
    };
    value.and_then(|value| u64::try_from(value).ok()).ok_or_else(|| bad(document, field))
}

pub(super) fn time_of(document: &RawDocument, field: &str) -> Result<Timestamp> {
    document.get_datetime(field).map(timestamp).map_err(|_| bad(document, field))
}

pub(super) fn id_of(document: &RawDocument) -> Result<RunId> {
    text(document, "_id")?.parse().map_err(|_| bad(document, "_id"))
}

pub(super) fn organization_of(document: &RawDocument) -> Result<OrganizationId> {
    text(document, "organization")?.parse().map_err(|_| bad(document, "organization"))
}

/// The run in a document.
pub(super) fn decode(document: &RawDocument) -> Result<Run> {
    let head = Head {
        id: id_of(document)?,
        organization: organization_of(document)?,
        number: number(document, "number")?,
        version: number(document, "version")?,
        lease_expires_at: time_of(document, "lease_expires_at").ok(),
    };
    decode_run(head, text(document, "record")?.as_bytes())
}

pub(super) fn status_of(document: &RawDocument) -> Result<RunStatus> {
    RunStatus::parse(text(document, "status")?).ok_or_else(|| bad(document, "status"))
}

pub(super) fn knows_operation(document: &RawDocument, operation: i64) -> bool {
    let Ok(operations) = document.get_array("operations") else { return false };
    operations.into_iter().flatten().any(|known| known.as_i64() == Some(operation))
}

//! A run as a row: which columns it is looked up by, and back.

use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::{Hold, Run, RunState, RunStatus};
use gantry_domain::spec::Priority;
use gantry_domain::time::Timestamp;
use rusqlite::Row;

use crate::record::{Head, decode_run, encode_run};
use crate::{Result, StoreError};

pub(super) type Id = [u8; 16];

/// An id as stored: most significant byte first, so that bytes sort as ids do.
pub(super) fn key(bits: u128) -> Id {
    bits.to_be_bytes()
}

pub(super) fn run_id(id: Id) -> RunId {
    RunId::from_u128(u128::from_be_bytes(id))
}

pub(super) fn organization_id(id: Id) -> OrganizationId {
    OrganizationId::from_u128(u128::from_be_bytes(id))
}

/// A status as stored; these numbers never change.
pub(super) fn status_code(status: RunStatus) -> u8 {
    match status {
        RunStatus::Pending => 0,
        RunStatus::Queued => 1,
        RunStatus::Running => 2,
        RunStatus::Analyzing => 3,
        RunStatus::Passed => 4,
        RunStatus::Failed => 5,
        RunStatus::Unstable => 6,
        RunStatus::Error => 7,
        RunStatus::Cancelled => 8,
        RunStatus::TimedOut => 9,
    }
}

pub(super) fn status_of(code: u8) -> Result<RunStatus> {
    RunStatus::ALL
        .into_iter()
        .find(|status| status_code(*status) == code)
        .ok_or_else(|| StoreError::Corrupt(format!("a run has the unknown status {code}")))
}

/// Smaller goes first.
pub(super) fn turn(priority: Priority) -> u8 {
    Priority::Critical.rank() - priority.rank()
}

/// The columns that a transition may change, with the document.
pub(super) struct Changing {
    pub version: u64,
    pub status: RunStatus,
    pub waits: Option<u8>,
    pub due_at: Option<i64>,
    pub limit_key: Option<String>,
    pub queued_since: Option<i64>,
    pub worker: Option<Id>,
    pub lease_token: Option<String>,
    pub lease_expires_at: Option<i64>,
    pub cancel: bool,
    pub log_due: Option<i64>,
    pub record: Vec<u8>,
}

impl Changing {
    pub fn of(run: &Run) -> Result<Self> {
        let (waits, due_at, limit_key) = match &run.state {
            RunState::Pending { hold: Hold::Workers } => (Some(0), None, None),
            RunState::Pending { hold: Hold::Due { at } } => (Some(1), Some(at.as_millis()), None),
            RunState::Pending { hold: Hold::Limit { key } } => (Some(2), None, Some(key.clone())),
            RunState::Pending { hold: Hold::Paused } => (Some(3), None, None),
            _ => (None, None, None),
        };
        let lease = run.state.lease();
        Ok(Self {
            version: run.version,
            status: run.status(),
            waits,
            due_at,
            limit_key,
            queued_since: (run.status() == RunStatus::Queued)
                .then(|| run.queued_at.unwrap_or(run.created_at).as_millis()),
            worker: lease.map(|lease| key(lease.worker.as_u128())),
            lease_token: lease.map(|lease| lease.token.as_str().to_owned()),
            lease_expires_at: lease.map(|lease| lease.expires_at.as_millis()),
            cancel: run.cancel.is_some(),
            log_due: run.log_due().map(Timestamp::as_millis),
            record: encode_run(run)?,
        })
    }
}

/// A run's columns as read, not yet decoded: decoding is done where it holds nobody up.
pub(super) struct Stored {
    pub id: Id,
    organization: Id,
    number: u64,
    version: u64,
    lease_expires_at: Option<i64>,
    record: Vec<u8>,
}

impl Stored {
    /// From the columns `id, organization, number, version, lease_expires_at, record`, in this order.
    pub fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            organization: row.get(1)?,
            number: row.get(2)?,
            version: row.get(3)?,
            lease_expires_at: row.get(4)?,
            record: row.get(5)?,
        })
    }

    pub fn decode(self) -> Result<Run> {
        let head = Head {
            id: run_id(self.id),
            organization: organization_id(self.organization),
            number: self.number,
            version: self.version,
            lease_expires_at: self.lease_expires_at.map(Timestamp::from_millis),
        };
        decode_run(head, &self.record)
    }
}

//! A run as a row: which columns it is looked up by, how it gets in, and back.

use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::{Hold, Run, RunState, RunStatus};
use gantry_domain::spec::Priority;
use gantry_domain::time::Timestamp;
use rusqlite::{Connection, Row, ToSql};

use super::statements as sql;
use super::writer::Writing;
use crate::aside::{Aside, DocumentKind, Subject};
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

    pub fn subject(&self) -> Subject {
        Subject {
            kind: DocumentKind::Run,
            id: u128::from_be_bytes(self.id),
            organization: Some(organization_id(self.organization)),
            state: self.version,
        }
    }

    /// The run, unless it cannot be read.
    pub fn sift(self, aside: &Aside) -> Result<Option<Run>> {
        aside.sift(self.subject(), || self.decode())
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

/// What a write must know about the row it changes.
pub(super) struct Standing {
    pub seq: i64,
    pub version: u64,
    pub status: RunStatus,
    pub lease_token: Option<String>,
    pub lease_expires_at: Option<i64>,
    pub organization: Id,
    pub group: Option<String>,
}

impl Standing {
    pub fn of(connection: &Connection, id: Id) -> Result<Option<Self>> {
        let mut statement = connection.prepare_cached(sql::STANDING)?;
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(Self {
            seq: row.get(0)?,
            version: row.get(1)?,
            status: status_of(row.get(2)?)?,
            lease_token: row.get(3)?,
            lease_expires_at: row.get(4)?,
            organization: row.get(5)?,
            group: row.get(6)?,
        }))
    }

    /// Renewals touch no version, so one may have come since `changing` was computed.
    pub fn later_expiry(&self, changing: &Changing) -> Option<i64> {
        if self.lease_token == changing.lease_token {
            self.lease_expires_at.max(changing.lease_expires_at)
        } else {
            changing.lease_expires_at
        }
    }
}

/// A run's row, but for what is only known when it is inserted.
pub(super) struct NewRow {
    pub id: Id,
    pub organization: Id,
    pool: String,
    turn: u8,
    project: Option<String>,
    environment: Option<String>,
    group: Option<String>,
    created_at: i64,
    changing: Changing,
}

impl NewRow {
    pub fn of(run: &Run) -> Result<Self> {
        Ok(Self {
            id: key(run.id.as_u128()),
            organization: key(run.organization.as_u128()),
            pool: run.spec.pool.as_str().to_owned(),
            turn: turn(run.spec.priority),
            project: run.spec.project.clone(),
            environment: run.spec.environment.clone(),
            group: run.spec.group.clone(),
            created_at: run.created_at.as_millis(),
            changing: Changing::of(run)?,
        })
    }

    pub fn insert(
        &self,
        writing: &mut Writing<'_>,
        number: u64,
        idempotency: Option<(&str, &[u8; 32])>,
    ) -> Result<()> {
        let changing = &self.changing;
        let (idempotency_key, body_hash) = idempotency.unzip();
        let values: [&dyn ToSql; 23] = [
            &self.id,
            &self.organization,
            &number,
            &changing.version,
            &status_code(changing.status),
            &self.pool,
            &self.turn,
            &self.project,
            &self.environment,
            &self.group,
            &self.created_at,
            &changing.waits,
            &changing.due_at,
            &changing.limit_key,
            &changing.queued_since,
            &changing.worker,
            &changing.lease_token,
            &changing.lease_expires_at,
            &changing.cancel,
            &changing.log_due,
            &idempotency_key,
            &body_hash,
            &changing.record,
        ];
        writing.connection.prepare_cached(sql::INSERT_RUN)?.execute(values)?;
        let to = (changing.status, self.group.as_deref());
        writing.ledger.count(self.organization, &self.pool, None, Some(to));
        if changing.waits == Some(0) {
            writing.ledger.activate_lane(writing.connection, &self.pool, self.organization)?;
        }
        Ok(())
    }
}

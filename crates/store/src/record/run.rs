use std::collections::BTreeMap;

use gantry_domain::attempt::{Attempt, Warning};
use gantry_domain::id::{ClaimId, DispatchId, OrganizationId, RunId, WorkerId};
use gantry_domain::run::{
    Actor, CancelRequest, Hold, Lease, LeaseToken, Run, RunState, Trigger, TriggerKind, Verdict,
};
use gantry_domain::time::Timestamp;
use gantry_domain::trace::TraceContext;
use serde::{Deserialize, Serialize};

use super::attempt::{AttemptRecord, ReasonRecord, WarningRecord};
use super::spec::SpecRecord;
use super::{Millis, Record, VERSION, is_default, read, write};
use crate::Result;

/// What a backend keeps beside the document, because it looks runs up by it or changes it alone.
pub(crate) struct Head {
    pub id: RunId,
    pub organization: OrganizationId,
    pub number: u64,
    pub version: u64,
    /// Renewals change only this; it wins over the document's.
    pub lease_expires_at: Option<Timestamp>,
}

/// The document of a run, without its [`Head`].
pub(crate) fn encode_run(run: &Run) -> Result<Vec<u8>> {
    write(&RunRecord::from(run))
}

/// The run made of its head and document.
pub(crate) fn decode_run(head: Head, document: &[u8]) -> Result<Run> {
    let record: RunRecord = read(document)?;
    Ok(record.into_run(head))
}

#[derive(Serialize, Deserialize)]
struct RunRecord {
    v: u32,
    created_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queued_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at: Option<Millis>,
    state: StateRecord,
    trigger: TriggerRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cancel: Option<CancelRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<AttemptRecord>,
    #[serde(default, skip_serializing_if = "is_default")]
    retries_used: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    losses: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    holding: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<WarningRecord>,
    spec: SpecRecord,
}

impl Record for RunRecord {
    const KIND: &'static str = "run";
    fn version(&self) -> u32 {
        self.v
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateRecord {
    Pending { hold: HoldRecord },
    Queued { dispatch: DispatchId },
    Running { lease: LeaseRecord },
    Analyzing { lease: LeaseRecord },
    Finished { verdict: Verdict, reason: ReasonRecord },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HoldRecord {
    Workers,
    Due(Millis),
    Limit(String),
    Paused,
}

#[derive(Serialize, Deserialize)]
struct LeaseRecord {
    worker: WorkerId,
    dispatch: DispatchId,
    claim: ClaimId,
    token: LeaseToken,
    expires_at: Millis,
    #[serde(default, skip_serializing_if = "is_default")]
    started: bool,
}

#[derive(Serialize, Deserialize)]
struct TriggerRecord {
    kind: TriggerKind,
    actor: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rerun_of: Option<RunId>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    trace: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct CancelRecord {
    by: Actor,
    at: Millis,
}

impl From<&Run> for RunRecord {
    fn from(run: &Run) -> Self {
        Self {
            v: VERSION,
            created_at: run.created_at.into(),
            queued_at: run.queued_at.map(Millis::from),
            finished_at: run.finished_at.map(Millis::from),
            state: (&run.state).into(),
            trigger: TriggerRecord {
                kind: run.trigger.kind,
                actor: run.trigger.actor,
                rerun_of: run.trigger.rerun_of,
                trace: run.trigger.trace.as_ref().map(TraceContext::to_headers).unwrap_or_default(),
            },
            cancel: run.cancel.map(|cancel| CancelRecord { by: cancel.by, at: cancel.at.into() }),
            attempts: run.attempts.iter().map(AttemptRecord::from).collect(),
            retries_used: run.retries_used,
            losses: run.losses,
            holding: run.holding.clone(),
            warnings: run.warnings.iter().map(WarningRecord::from).collect(),
            spec: (&run.spec).into(),
        }
    }
}

impl RunRecord {
    fn into_run(self, head: Head) -> Run {
        let mut state = RunState::from(self.state);
        if let (RunState::Running { lease } | RunState::Analyzing { lease }, Some(expires_at)) =
            (&mut state, head.lease_expires_at)
        {
            lease.expires_at = expires_at;
        }
        Run {
            id: head.id,
            organization: head.organization,
            number: head.number,
            version: head.version,
            spec: self.spec.into(),
            trigger: Trigger {
                kind: self.trigger.kind,
                actor: self.trigger.actor,
                rerun_of: self.trigger.rerun_of,
                trace: TraceContext::from_headers(&self.trigger.trace),
            },
            created_at: self.created_at.into(),
            queued_at: self.queued_at.map(Into::into),
            finished_at: self.finished_at.map(Into::into),
            state,
            cancel: self.cancel.map(|cancel| CancelRequest { by: cancel.by, at: cancel.at.into() }),
            attempts: self.attempts.into_iter().map(Attempt::from).collect(),
            retries_used: self.retries_used,
            losses: self.losses,
            holding: self.holding,
            warnings: self.warnings.into_iter().map(Warning::from).collect(),
        }
    }
}

impl From<&RunState> for StateRecord {
    fn from(state: &RunState) -> Self {
        match state {
            RunState::Pending { hold } => Self::Pending { hold: hold.into() },
            RunState::Queued { dispatch } => Self::Queued { dispatch: *dispatch },
            RunState::Running { lease } => Self::Running { lease: lease.into() },
            RunState::Analyzing { lease } => Self::Analyzing { lease: lease.into() },
            RunState::Finished { verdict, reason } => {
                Self::Finished { verdict: *verdict, reason: reason.into() }
            }
        }
    }
}

impl From<StateRecord> for RunState {
    fn from(record: StateRecord) -> Self {
        match record {
            StateRecord::Pending { hold } => Self::Pending { hold: hold.into() },
            StateRecord::Queued { dispatch } => Self::Queued { dispatch },
            StateRecord::Running { lease } => Self::Running { lease: lease.into() },
            StateRecord::Analyzing { lease } => Self::Analyzing { lease: lease.into() },
            StateRecord::Finished { verdict, reason } => Self::Finished { verdict, reason: reason.into() },
        }
    }
}

impl From<&Hold> for HoldRecord {
    fn from(hold: &Hold) -> Self {
        match hold {
            Hold::Workers => Self::Workers,
            Hold::Due { at } => Self::Due((*at).into()),
            Hold::Limit { key } => Self::Limit(key.clone()),
            Hold::Paused => Self::Paused,
        }
    }
}

impl From<HoldRecord> for Hold {
    fn from(record: HoldRecord) -> Self {
        match record {
            HoldRecord::Workers => Self::Workers,
            HoldRecord::Due(at) => Self::Due { at: at.into() },
            HoldRecord::Limit(key) => Self::Limit { key },
            HoldRecord::Paused => Self::Paused,
        }
    }
}

impl From<&Lease> for LeaseRecord {
    fn from(lease: &Lease) -> Self {
        Self {
            worker: lease.worker,
            dispatch: lease.dispatch,
            claim: lease.claim,
            token: lease.token.clone(),
            expires_at: lease.expires_at.into(),
            started: lease.started,
        }
    }
}

impl From<LeaseRecord> for Lease {
    fn from(record: LeaseRecord) -> Self {
        Self {
            worker: record.worker,
            dispatch: record.dispatch,
            claim: record.claim,
            token: record.token,
            expires_at: record.expires_at.into(),
            started: record.started,
        }
    }
}

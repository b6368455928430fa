//! A run and its life: which states there are, what each carries, and how one becomes another.
//!
//! Everything here is a pure function from one [`Run`] to the next. Whoever changes a run reads it, asks the run for its
//! successor, and stores that by compare-and-set on [`Run::version`]; a conflict means: read again and decide again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Observation, Warning};
use crate::id::{ClaimId, DispatchId, KeyId, OrganizationId, RunId, UserId, WorkerId};
use crate::reason::{Reason, ReasonCode};
use crate::results::TestSummary;
use crate::spec::{RetryOn, RunSpec};
use crate::time::Timestamp;
use crate::trace::TraceContext;

/// One request to execute an automation, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub organization: OrganizationId,
    /// Counts up inside the organization; gaps are possible.
    pub number: u64,
    /// Counts writes; every change is a compare-and-set on it.
    pub version: u64,
    pub spec: RunSpec,
    pub trigger: Trigger,
    pub created_at: Timestamp,
    pub queued_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub state: RunState,
    /// Who asked for it to end, while it is still going on.
    pub cancel: Option<CancelRequest>,
    /// One record per claim, oldest first; the last one decides.
    pub attempts: Vec<Attempt>,
    /// Retries used up by outcomes listed in `retries.on`.
    pub retries_used: u32,
    /// Retries used up by infrastructure.
    pub losses: u32,
    /// Limit keys held while queued or running, given back afterwards.
    pub holding: Vec<String>,
    pub warnings: Vec<Warning>,
}

/// Where a run stands, with what only that state knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum RunState {
    /// Stored, not yet handed to the queue.
    Pending { hold: Hold },
    /// Handed to the queue; only a message with this id may claim it.
    Queued { dispatch: DispatchId },
    /// A worker holds the lease and executes.
    Running { lease: Lease },
    /// The command has ended; the same lease covers collecting and judging.
    Analyzing { lease: Lease },
    /// Over, for good.
    Finished { verdict: Verdict, reason: Reason },
}

/// Why a pending run waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Hold {
    /// For a free slot: it may be dispatched at any moment.
    Workers,
    /// For this time, after a retry's backoff.
    Due { at: Timestamp },
    /// For a place under this concurrency limit.
    Limit { key: String },
    /// For somebody to resume dispatching.
    Paused,
}

/// The time-limited right of one attempt to write to its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub worker: WorkerId,
    pub dispatch: DispatchId,
    pub claim: ClaimId,
    pub token: LeaseToken,
    pub expires_at: Timestamp,
    /// The worker was told that it may start the command.
    pub started: bool,
}

/// The secret that every call about an attempt carries.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseToken(String);

impl LeaseToken {
    /// A token made of 128 random bits.
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeaseToken(…)")
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Passed,
    Failed,
    /// The command succeeded, but its tests did not all pass, or only after a retry.
    Unstable,
    /// Gantry or the infrastructure could not carry it out.
    Error,
    Cancelled,
    TimedOut,
}

/// A state without its data: what filters and lists speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Pending,
    Queued,
    Running,
    Analyzing,
    Passed,
    Failed,
    Unstable,
    Error,
    Cancelled,
    TimedOut,
}

impl RunStatus {
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Queued,
        Self::Running,
        Self::Analyzing,
        Self::Passed,
        Self::Failed,
        Self::Unstable,
        Self::Error,
        Self::Cancelled,
        Self::TimedOut,
    ];

    /// The stable name used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Analyzing => "analyzing",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Unstable => "unstable",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Queued | Self::Running | Self::Analyzing)
    }

    /// Every step a run may take.
    pub fn can_become(self, next: Self) -> bool {
        match self {
            Self::Pending => matches!(next, Self::Pending | Self::Queued | Self::Cancelled | Self::TimedOut),
            Self::Queued => matches!(next, Self::Pending | Self::Running | Self::Cancelled | Self::TimedOut),
            // Any end, or back to pending for another attempt.
            Self::Running => next != Self::Queued,
            Self::Analyzing => !matches!(next, Self::Queued | Self::Running),
            Self::Passed | Self::Failed | Self::Unstable | Self::Error | Self::Cancelled | Self::TimedOut => {
                false
            }
        }
    }
}

impl From<Verdict> for RunStatus {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self::Passed,
            Verdict::Failed => Self::Failed,
            Verdict::Unstable => Self::Unstable,
            Verdict::Error => Self::Error,
            Verdict::Cancelled => Self::Cancelled,
            Verdict::TimedOut => Self::TimedOut,
        }
    }
}

impl RunState {
    pub fn status(&self) -> RunStatus {
        match self {
            Self::Pending { .. } => RunStatus::Pending,
            Self::Queued { .. } => RunStatus::Queued,
            Self::Running { .. } => RunStatus::Running,
            Self::Analyzing { .. } => RunStatus::Analyzing,
            Self::Finished { verdict, .. } => (*verdict).into(),
        }
    }

    pub fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Running { lease } | Self::Analyzing { lease } => Some(lease),
            _ => None,
        }
    }
}

/// What created a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    pub kind: TriggerKind,
    pub actor: Actor,
    pub rerun_of: Option<RunId>,
    /// The trace that the request belonged to.
    pub trace: Option<TraceContext>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    Api,
    Rerun,
}

impl TriggerKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Rerun => "rerun",
        }
    }
}

/// Who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    Key(KeyId),
    User(UserId),
    /// Gantry itself.
    System,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::User(id) => id.fmt(f),
            Self::System => f.write_str("system"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    pub by: Actor,
    pub at: Timestamp,
}

/// A step that the run's present state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the run is {}", .0.as_str())]
    WrongState(RunStatus),
    /// The caller's dispatch, claim or lease is not the current one.
    #[error("the attempt is over")]
    Stale,
}

/// What came of a claim.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)]
pub enum Claimed {
    /// Store this run, then tell the worker.
    Granted(Run),
    /// The same claim again (its answer was lost): tell the worker the same.
    Repeated,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Final(Verdict),
    RetryAt(Timestamp),
}

/// Everything a worker says about an attempt that is over, with what the producer counted itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AttemptReport {
    pub log_end: u64,
    pub log_truncated: bool,
    pub tests: TestSummary,
    pub warnings: Vec<Warning>,
    pub timings: Timings,
}

/// How long the phases of an attempt took, as measured by its worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    pub prepare_ms: Option<u64>,
    pub execute_ms: Option<u64>,
    pub collect_ms: Option<u64>,
}

impl Run {
    /// As it is accepted: it waits for a worker. Whoever stores it gives it its number.
    pub fn accepted(
        id: RunId,
        organization: OrganizationId,
        spec: RunSpec,
        trigger: Trigger,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            organization,
            number: 0,
            version: 1,
            spec,
            trigger,
            created_at,
            queued_at: None,
            finished_at: None,
            state: RunState::Pending { hold: Hold::Workers },
            cancel: None,
            attempts: Vec::new(),
            retries_used: 0,
            losses: 0,
            holding: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub fn status(&self) -> RunStatus {
        self.state.status()
    }

    pub fn is_final(&self) -> bool {
        self.status().is_final()
    }

    /// Tries so far; the fence of the current attempt.
    pub fn attempt(&self) -> u32 {
        self.attempts.len() as u32
    }

    pub fn last_attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    fn next(&self, state: RunState) -> Self {
        debug_assert!(self.status().can_become(state.status()) || self.status() == state.status());
        Self { version: self.version + 1, state, ..self.clone() }
    }

    fn wrong<T>(&self) -> Result<T, Refused> {
        Err(Refused::WrongState(self.status()))
    }

    /// `pending` → `queued`, under a new dispatch id, holding `holding` limit keys.
    pub fn dispatch(
        &self,
        dispatch: DispatchId,
        holding: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        let RunState::Pending { .. } = self.state else { return self.wrong() };
        let mut next = self.next(RunState::Queued { dispatch });
        next.queued_at = Some(now);
        next.holding = holding;
        Ok(next)
    }

    /// `queued` → `pending`, when the message of this dispatch was not taken.
    pub fn take_back(&self, dispatch: DispatchId, now: Timestamp) -> Result<Self, Refused> {
        match self.state {
            RunState::Queued { dispatch: present } if present == dispatch => {
                // What still holds places may not be dispatched before it gave them back: it would lose its new ones.
                let hold = match self.holding.is_empty() {
                    true => Hold::Workers,
                    false => Hold::Due { at: now + Duration::from_secs(1) },
                };
                let mut next = self.next(RunState::Pending { hold });
                next.queued_at = None;
                next.holding = Vec::new();
                Ok(next)
            }
            RunState::Queued { .. } => Err(Refused::Stale),
            _ => self.wrong(),
        }
    }

    /// A pending run with another reason to wait.
    pub fn hold(&self, hold: Hold) -> Result<Self, Refused> {
        let RunState::Pending { .. } = self.state else { return self.wrong() };
        Ok(self.next(RunState::Pending { hold }))
    }

    /// `queued` → `running`: opens the next attempt under a lease.
    pub fn claim(&self, lease: Lease, now: Timestamp) -> Result<Claimed, Refused> {
        match &self.state {
            RunState::Queued { dispatch } if *dispatch == lease.dispatch => {
                let attempt = Attempt::open(self.attempt() + 1, lease.worker, now);
                let mut next = self.next(RunState::Running { lease });
                next.attempts.push(attempt);
                Ok(Claimed::Granted(next))
            }
            RunState::Running { lease: held }
                if held.claim == lease.claim && held.dispatch == lease.dispatch =>
            {
                Ok(Claimed::Repeated)
            }
            _ => Err(Refused::Stale),
        }
    }

    fn held(&self, token: &LeaseToken) -> Result<&Lease, Refused> {
        self.state.lease().filter(|lease| lease.token == *token).ok_or(Refused::Stale)
    }

    /// Whether `token` is the present lease's.
    pub fn check_lease(&self, token: &LeaseToken) -> Result<(), Refused> {
        self.held(token).map(|_| ())
    }

    fn current(&mut self) -> Option<&mut Attempt> {
        self.attempts.last_mut()
    }

    /// Notes that the command may start now; `None` when that was noted before.
    pub fn start(&self, token: &LeaseToken, now: Timestamp) -> Result<Option<Self>, Refused> {
        let lease = self.held(token)?;
        let RunState::Running { .. } = self.state else { return self.wrong() };
        if lease.started {
            return Ok(None);
        }
        let mut next = self.next(RunState::Running { lease: Lease { started: true, ..lease.clone() } });
        if let Some(attempt) = next.current() {
            attempt.started_at = Some(now);
        }
        Ok(Some(next))
    }

    /// `running` → `analyzing`; `None` when it was there already.
    pub fn analyze(&self, token: &LeaseToken, now: Timestamp) -> Result<Option<Self>, Refused> {
        let lease = self.held(token)?;
        if let RunState::Analyzing { .. } = self.state {
            return Ok(None);
        }
        let mut next = self.next(RunState::Analyzing { lease: lease.clone() });
        if let Some(attempt) = next.current() {
            attempt.exited_at = Some(now);
        }
        Ok(Some(next))
    }

    /// In another group, or in none; `None` when it is there already. Allowed in every state.
    pub fn regroup(&self, group: Option<String>) -> Option<Self> {
        if self.spec.group == group {
            return None;
        }
        let mut next = Self { version: self.version + 1, ..self.clone() };
        next.spec.group = group;
        Some(next)
    }

    /// When the first of its logs has to move next.
    pub fn log_due(&self) -> Option<Timestamp> {
        self.attempts.iter().filter_map(Attempt::log_due).min()
    }

    /// The log of an ended attempt is in its blob, and its chunks can go at `chunks_until`; `None` when that was noted
    /// before or the attempt is not over.
    pub fn log_sealed(&self, attempt: u32, chunks_until: Timestamp) -> Option<Self> {
        self.with_log(attempt, |attempt| {
            if !attempt.needs_sealing() {
                return false;
            }
            attempt.log.sealed = true;
            attempt.log.chunks_until = Some(chunks_until);
            true
        })
    }

    /// The chunks of a sealed log are gone; `None` when that was noted before.
    pub fn log_cleared(&self, attempt: u32) -> Option<Self> {
        self.with_log(attempt, |attempt| attempt.log.chunks_until.take().is_some())
    }

    fn with_log(&self, number: u32, change: impl FnOnce(&mut Attempt) -> bool) -> Option<Self> {
        let mut next = Self { version: self.version + 1, ..self.clone() };
        let attempt = next.attempts.iter_mut().find(|attempt| attempt.number == number)?;
        change(attempt).then_some(next)
    }

    /// Records what was collected in the present attempt.
    pub fn record(&self, token: &LeaseToken, change: impl FnOnce(&mut Attempt)) -> Result<Self, Refused> {
        self.held(token)?;
        let mut next = self.next(self.state.clone());
        if let Some(attempt) = next.current() {
            change(attempt);
        }
        Ok(next)
    }

    /// Ends the present attempt as its worker observed it.
    pub fn finish(
        &self,
        token: &LeaseToken,
        observation: &Observation,
        report: AttemptReport,
        now: Timestamp,
    ) -> Result<(Self, Ended), Refused> {
        self.held(token)?;
        Ok(self.end_attempt(observation, report, now))
    }

    /// Ends an attempt whose lease ran out, or whose worker is known to be gone.
    pub fn lose(&self, log_end: u64, now: Timestamp) -> Result<(Self, Ended), Refused> {
        let Some(_) = self.state.lease() else { return self.wrong() };
        Ok(self.end_attempt(&Observation::Lost, AttemptReport { log_end, ..AttemptReport::default() }, now))
    }

    fn end_attempt(&self, observation: &Observation, report: AttemptReport, now: Timestamp) -> (Self, Ended) {
        let failed_before = self.attempts.iter().any(Attempt::failed_on_its_own);
        let (verdict, reason) = observation.judge(&report.tests, failed_before, self.cancel.as_ref());
        let started = self.state.lease().is_some_and(|lease| lease.started);
        let retry = self.retry(observation, verdict, started);

        let state = match retry {
            Some(cause) => RunState::Pending { hold: self.backoff(cause, now) },
            None => RunState::Finished { verdict, reason: self.final_reason(observation, reason.clone()) },
        };
        let mut next = self.next(state);
        match retry {
            Some(Cause::Outcome) => next.retries_used += 1,
            Some(Cause::Infrastructure) => next.losses += 1,
            None => next.finished_at = Some(now),
        }
        next.holding = Vec::new();
        if let Some(attempt) = next.current() {
            attempt.close(verdict, reason, observation.exit_code(), report, now);
            if let Observation::Exited { code: 0, oom_killed: true } = observation {
                attempt.warnings.push(Warning::child_oom());
            }
        }
        let ended = match &next.state {
            RunState::Pending { hold: Hold::Due { at } } => Ended::RetryAt(*at),
            RunState::Pending { .. } => Ended::RetryAt(now),
            _ => Ended::Final(verdict),
        };
        (next, ended)
    }

    fn retry(&self, observation: &Observation, verdict: Verdict, started: bool) -> Option<Cause> {
        let retries = &self.spec.retries;
        if self.cancel.is_some() || (self.spec.at_most_once && started) {
            return None;
        }
        if observation.is_infrastructure() {
            return (self.losses < retries.max_lost).then_some(Cause::Infrastructure);
        }
        let wanted = retries.on.iter().any(|on: &RetryOn| on.covers(verdict));
        (wanted && self.retries_used < retries.max).then_some(Cause::Outcome)
    }

    fn backoff(&self, cause: Cause, now: Timestamp) -> Hold {
        let (used, first) = match cause {
            Cause::Outcome => (self.retries_used, u64::from(self.spec.retries.backoff_seconds)),
            // The first loss goes elsewhere at once.
            Cause::Infrastructure if self.losses == 0 => (0, 0),
            Cause::Infrastructure => (self.losses - 1, 1),
        };
        let seconds = first.saturating_mul(1 << used.min(20)).min(3600);
        // What still holds places may not be dispatched before it gave them back: it would lose its new ones.
        if seconds == 0 && self.holding.is_empty() {
            Hold::Workers
        } else {
            Hold::Due { at: now + Duration::from_secs(seconds) }
        }
    }

    fn final_reason(&self, observation: &Observation, reason: Reason) -> Reason {
        let lost = matches!(observation, Observation::Lost | Observation::HandedBack);
        if lost && self.cancel.is_none() {
            Reason::lost(self.attempt(), self.spec.at_most_once)
        } else {
            reason
        }
    }

    /// Asks for the run to end: at once when nothing executes, else through its worker. `None` when it was asked before.
    pub fn cancel(&self, by: Actor, now: Timestamp) -> Result<Option<Self>, Refused> {
        match self.state {
            RunState::Finished { .. } => self.wrong(),
            RunState::Pending { .. } | RunState::Queued { .. } => {
                Ok(Some(self.end_unclaimed(Verdict::Cancelled, Reason::cancelled(by), now, Some(by))))
            }
            RunState::Running { .. } | RunState::Analyzing { .. } if self.cancel.is_some() => Ok(None),
            RunState::Running { .. } | RunState::Analyzing { .. } => {
                let mut next = self.next(self.state.clone());
                next.cancel = Some(CancelRequest { by, at: now });
                Ok(Some(next))
            }
        }
    }

    /// Since when it waits to be executed: since it was accepted, its last attempt ended, or its backoff is over.
    pub fn waiting_since(&self) -> Timestamp {
        let since = self.last_attempt().and_then(|last| last.finished_at).unwrap_or(self.created_at);
        match self.state {
            RunState::Pending { hold: Hold::Due { at } } => since.max(at),
            _ => since,
        }
    }

    /// Ends a run that waited longer than allowed.
    pub fn give_up_waiting(&self, limit: Duration, now: Timestamp) -> Result<Self, Refused> {
        match self.state {
            RunState::Pending { .. } | RunState::Queued { .. } => {
                Ok(self.end_unclaimed(Verdict::TimedOut, Reason::queue_timeout(limit), now, None))
            }
            _ => self.wrong(),
        }
    }

    fn end_unclaimed(&self, verdict: Verdict, reason: Reason, now: Timestamp, by: Option<Actor>) -> Self {
        let mut next = self.next(RunState::Finished { verdict, reason });
        next.finished_at = Some(now);
        next.holding = Vec::new();
        next.cancel = by.map(|by| CancelRequest { by, at: now });
        next
    }

    /// From the first start of the deciding attempt (its claim, if it never started) to the end, or to `now`.
    pub fn duration(&self, now: Timestamp) -> Option<Duration> {
        let attempt = self.last_attempt()?;
        let from = attempt.started_at.unwrap_or(attempt.claimed_at);
        Some(self.finished_at.or(attempt.finished_at).unwrap_or(now).since(from))
    }

    pub fn reason(&self) -> Option<&Reason> {
        match &self.state {
            RunState::Finished { reason, .. } => Some(reason),
            _ => None,
        }
    }

    pub fn reason_code(&self) -> Option<ReasonCode> {
        self.reason().map(|reason| reason.code)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Outcome,
    Infrastructure,
}

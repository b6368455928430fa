//! A producer in memory that keeps the rules of the real one, fails on demand, and remembers what it was told.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use futures::StreamExt as _;
use gantry_api_types::run::Status;
use gantry_api_types::worker::{
    ArtifactsAnswer, AttemptRef, Claim, Finish, Finished, Grant, Heartbeat, HeartbeatAnswer, LeaseSignal,
    LogAnswer, OverAnswer, OverQuestion, Register, Registered, ReportedState, StateAnswer,
};
use gantry_domain::id::{ClaimId, DispatchId, InstallationId, OrganizationId, RunId, WorkerId};
use gantry_domain::log::{LogChunk, LogStream};
use gantry_domain::run::LeaseToken;
use gantry_domain::spec::{Network, Resources};
use gantry_executor::TarStream;
use gantry_executor::fake::{FakeExecutor, Gate};
use gantry_worker::{Producer, ProducerError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    Register,
    Heartbeat,
    Leave,
    Over,
    Claim,
    Starting,
    Analyzing,
    Logs,
    Artifacts,
    Finish,
}

/// What goes wrong with one call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It never arrives.
    Unreachable,
    /// It is carried out, but nobody hears of it.
    LostReply,
    /// It is carried out once the gate opens.
    Held(Gate),
    Stale,
    Refused,
}

/// What a run asks for.
#[derive(Debug, Clone)]
pub struct Work {
    pub command: Vec<String>,
    pub masked: Vec<String>,
    pub artifacts: Vec<String>,
    pub timeout_seconds: u32,
    pub log_limit_bytes: u64,
    pub start_first: bool,
}

impl Work {
    pub fn new(command: &[&str]) -> Self {
        Self {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            masked: Vec::new(),
            artifacts: vec!["reports".to_owned()],
            timeout_seconds: 600,
            log_limit_bytes: 64 << 20,
            start_first: true,
        }
    }
}

#[derive(Default)]
struct State {
    runs: HashMap<RunId, Record>,
    calls: Vec<(Call, Option<RunId>)>,
    faults: HashMap<Call, VecDeque<Fault>>,
    down: bool,
    draining: bool,
    forgot_worker: bool,
    heartbeats: Vec<Heartbeat>,
    registered: Vec<Register>,
    over: Vec<AttemptRef>,
    tokens: u128,
    ended: usize,
}

struct Record {
    work: Work,
    dispatch: DispatchId,
    claim: Option<ClaimId>,
    token: Option<LeaseToken>,
    grants: u32,
    cancel: bool,
    log: Vec<u8>,
    /// Bytes of log that were counted and not kept.
    forgotten: u64,
    pieces: Vec<(LogStream, Vec<u8>)>,
    artifacts: Option<Vec<u8>>,
    finish: Option<Finish>,
    /// Traces on the engine when the end was reported.
    live_at_finish: usize,
}

impl Record {
    fn end(&self) -> u64 {
        self.log.len() as u64 + self.forgotten
    }
}

pub struct ScriptedProducer {
    executor: Arc<FakeExecutor>,
    state: Mutex<State>,
    pub heartbeat_ms: u64,
    pub fence_ms: u64,
    /// Calls and logs are not kept, runs are forgotten when they end: for benchmarks.
    pub forgetful: bool,
}

impl ScriptedProducer {
    pub fn new(executor: Arc<FakeExecutor>) -> Self {
        Self { executor, state: Mutex::default(), heartbeat_ms: 5000, fence_ms: 40_000, forgetful: false }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn queue_run(&self, work: Work) -> (RunId, DispatchId) {
        let (run, dispatch) = (RunId::new(), DispatchId::new());
        let record = Record {
            work,
            dispatch,
            claim: None,
            token: None,
            grants: 0,
            cancel: false,
            log: Vec::new(),
            forgotten: 0,
            pieces: Vec::new(),
            artifacts: None,
            finish: None,
            live_at_finish: 0,
        };
        self.state().runs.insert(run, record);
        (run, dispatch)
    }

    /// The next call of this kind goes wrong; several queue up.
    pub fn fault(&self, call: Call, fault: Fault) {
        self.state().faults.entry(call).or_default().push_back(fault);
    }

    /// Nothing arrives any more, or again.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
    }

    pub fn set_draining(&self, draining: bool) {
        self.state().draining = draining;
    }

    pub fn forget_worker(&self) {
        self.state().forgot_worker = true;
    }

    /// Somebody wants the run to end; heartbeats and answers say so.
    pub fn cancel(&self, run: RunId) {
        self.record(run, |record| record.cancel = true);
    }

    /// The lease was taken away.
    pub fn take_lease(&self, run: RunId) {
        self.record(run, |record| record.token = None);
    }

    pub fn declare_over(&self, attempt: AttemptRef) {
        self.state().over.push(attempt);
    }

    /// Why the worker said in its latest heartbeat that it takes no runs.
    pub fn paused(&self) -> Option<String> {
        self.state().heartbeats.last()?.paused.clone()
    }

    fn record<T>(&self, run: RunId, act: impl FnOnce(&mut Record) -> T) -> T {
        act(self.state().runs.get_mut(&run).unwrap())
    }

    pub fn finish_of(&self, run: RunId) -> Option<Finish> {
        self.record(run, |record| record.finish.clone())
    }

    /// Runs whose end was told.
    pub fn ended(&self) -> usize {
        self.state().ended
    }

    pub fn live_at_finish(&self, run: RunId) -> usize {
        self.record(run, |record| record.live_at_finish)
    }

    pub fn grants_of(&self, run: RunId) -> u32 {
        self.record(run, |record| record.grants)
    }

    pub fn artifacts_of(&self, run: RunId) -> Option<Vec<u8>> {
        self.record(run, |record| record.artifacts.clone())
    }

    pub fn log_of(&self, run: RunId) -> Vec<u8> {
        self.record(run, |record| record.log.clone())
    }

    /// The log of one origin.
    pub fn stream_of(&self, run: RunId, stream: LogStream) -> String {
        let bytes: Vec<u8> = self.record(run, |record| {
            let of = record.pieces.iter().filter(|(origin, _)| *origin == stream);
            of.flat_map(|(_, bytes)| bytes.clone()).collect()
        });
        String::from_utf8(bytes).unwrap()
    }

    pub fn pieces_of(&self, run: RunId) -> Vec<Vec<u8>> {
        self.record(run, |record| record.pieces.iter().map(|(_, bytes)| bytes.clone()).collect())
    }

    pub fn calls(&self) -> Vec<(Call, Option<RunId>)> {
        self.state().calls.clone()
    }

    pub fn calls_of(&self, run: RunId) -> Vec<Call> {
        self.state().calls.iter().filter(|(_, of)| *of == Some(run)).map(|(call, _)| *call).collect()
    }

    pub fn count(&self, call: Call) -> usize {
        self.state().calls.iter().filter(|(made, _)| *made == call).count()
    }

    pub fn heartbeats(&self) -> Vec<Heartbeat> {
        self.state().heartbeats.clone()
    }

    pub fn registered(&self) -> Vec<Register> {
        self.state().registered.clone()
    }

    /// Notes the call and carries it out, unless a fault says otherwise.
    async fn answer<T>(
        &self,
        call: Call,
        run: Option<RunId>,
        act: impl FnOnce(&mut State) -> Result<T, ProducerError>,
    ) -> Result<T, ProducerError> {
        let fault = {
            let mut state = self.state();
            if !self.forgetful {
                state.calls.push((call, run));
            }
            if state.down {
                return Err(ProducerError::retry("down"));
            }
            state.faults.get_mut(&call).and_then(VecDeque::pop_front)
        };
        match fault {
            None => act(&mut self.state()),
            Some(Fault::Unreachable) => Err(ProducerError::retry("unreachable")),
            Some(Fault::Stale) => Err(ProducerError::Stale),
            Some(Fault::Refused) => Err(ProducerError::Refused("refused by the script".to_owned())),
            Some(Fault::LostReply) => {
                let _ = act(&mut self.state());
                Err(ProducerError::retry("the reply was lost"))
            }
            Some(Fault::Held(gate)) => {
                gate.passed().await;
                act(&mut self.state())
            }
        }
    }
}

impl State {
    fn leased(&mut self, run: RunId, token: &LeaseToken) -> Result<&mut Record, ProducerError> {
        let record = self.runs.get_mut(&run).ok_or(ProducerError::Stale)?;
        if record.token.as_ref() == Some(token) { Ok(record) } else { Err(ProducerError::Stale) }
    }
}

#[async_trait]
impl Producer for ScriptedProducer {
    async fn register(&self, register: &Register) -> Result<Registered, ProducerError> {
        self.answer(Call::Register, None, |state| {
            state.forgot_worker = false;
            state.registered.push(register.clone());
            Ok(Registered {
                installation: InstallationId::from_u128(1),
                heartbeat_ms: self.heartbeat_ms,
                lease_ms: self.fence_ms + 5000,
                fence_ms: self.fence_ms,
            })
        })
        .await
    }

    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, ProducerError> {
        self.answer(Call::Heartbeat, None, |state| {
            if !self.forgetful {
                state.heartbeats.push(heartbeat.clone());
            }
            let leases = heartbeat
                .leases
                .iter()
                .map(|held| match state.leased(held.run, &held.token) {
                    Err(_) => LeaseSignal::Lost,
                    Ok(record) if record.cancel => LeaseSignal::Cancel,
                    Ok(_) => LeaseSignal::Renewed,
                })
                .collect();
            Ok(HeartbeatAnswer { draining: state.draining, unknown: state.forgot_worker, leases })
        })
        .await
    }

    async fn leave(&self, _worker: WorkerId) -> Result<(), ProducerError> {
        self.answer(Call::Leave, None, |_| Ok(())).await
    }

    async fn over(&self, question: &OverQuestion) -> Result<OverAnswer, ProducerError> {
        self.answer(Call::Over, None, |state| {
            let asked = question.attempts.iter();
            Ok(OverAnswer { over: asked.filter(|attempt| state.over.contains(attempt)).copied().collect() })
        })
        .await
    }

    async fn claim(&self, run: RunId, claim: &Claim) -> Result<Grant, ProducerError> {
        self.answer(Call::Claim, Some(run), |state| {
            state.tokens += 1;
            let fresh = LeaseToken::from_bits(state.tokens);
            let record = state.runs.get_mut(&run).ok_or(ProducerError::Stale)?;
            if record.dispatch != claim.dispatch || record.claim.is_some_and(|by| by != claim.claim) {
                return Err(ProducerError::Stale);
            }
            if record.claim.is_none() {
                record.claim = Some(claim.claim);
                record.token = Some(fresh);
                record.grants += 1;
            }
            let lease = record.token.clone().ok_or(ProducerError::Stale)?;
            Ok(Grant {
                run,
                organization: OrganizationId::from_u128(1),
                attempt: 1,
                lease,
                image: Some("image".to_owned()),
                command: Some(record.work.command.clone()),
                folder: None,
                workdir: None,
                network: Network::default(),
                environment: BTreeMap::new(),
                masked: record.work.masked.clone(),
                resources: Resources::default(),
                timeout_seconds: record.work.timeout_seconds,
                collect_timeout_seconds: 120,
                artifacts: record.work.artifacts.clone(),
                log_limit_bytes: record.work.log_limit_bytes,
                start_first: record.work.start_first,
            })
        })
        .await
    }

    async fn state(
        &self,
        run: RunId,
        lease: &LeaseToken,
        reported: ReportedState,
    ) -> Result<StateAnswer, ProducerError> {
        let call = match reported {
            ReportedState::Starting => Call::Starting,
            ReportedState::Analyzing => Call::Analyzing,
        };
        self.answer(call, Some(run), |state| Ok(StateAnswer { cancel: state.leased(run, lease)?.cancel }))
            .await
    }

    async fn append_logs(
        &self,
        run: RunId,
        lease: &LeaseToken,
        chunk: &LogChunk,
    ) -> Result<LogAnswer, ProducerError> {
        self.answer(Call::Logs, Some(run), |state| {
            let record = state.leased(run, lease)?;
            let (end, from) = (record.end(), chunk.offset);
            if !self.forgetful
                && chunk.end() <= end
                && record.log[from as usize..chunk.end() as usize] == chunk.bytes()[..]
            {
                return Ok(LogAnswer { end });
            }
            if from != end {
                return Err(ProducerError::LogOffset { end: Some(end) });
            }
            if !self.forgetful {
                record
                    .pieces
                    .extend(chunk.pieces().map(|(_, segment, bytes)| (segment.stream, bytes.to_vec())));
            }
            match self.forgetful {
                true => record.forgotten += chunk.bytes().len() as u64,
                false => record.log.extend_from_slice(chunk.bytes()),
            }
            Ok(LogAnswer { end: chunk.end() })
        })
        .await
    }

    async fn put_artifacts(
        &self,
        run: RunId,
        lease: &LeaseToken,
        mut tar: TarStream,
    ) -> Result<ArtifactsAnswer, ProducerError> {
        let mut body = Vec::new();
        while let Some(piece) = tar.next().await {
            body.extend_from_slice(&piece.map_err(|_| ProducerError::retry("the body ended early"))?);
        }
        self.answer(Call::Artifacts, Some(run), |state| {
            let bytes = body.len() as u64;
            state.leased(run, lease)?.artifacts = Some(body);
            Ok(ArtifactsAnswer { count: 1, bytes, tests: 0, problems: vec!["a problem".to_owned()] })
        })
        .await
    }

    async fn finish(
        &self,
        run: RunId,
        lease: &LeaseToken,
        finish: &Finish,
    ) -> Result<Finished, ProducerError> {
        self.answer(Call::Finish, Some(run), |state| {
            let record = state.leased(run, lease)?;
            let end = record.end();
            if finish.log_end > 0 && finish.log_end != end {
                return Err(ProducerError::LogOffset { end: Some(end) });
            }
            record.token = None;
            record.finish = Some(finish.clone());
            record.live_at_finish = self.executor.live();
            state.ended += 1;
            if self.forgetful {
                state.runs.remove(&run);
            }
            Ok(Finished { status: Status::Passed })
        })
        .await
    }
}

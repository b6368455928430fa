//! An executor that runs nothing: for tests of everything above executors, and for benchmarks that must not measure one.
//!
//! An attempt does what its [`Script`] says: one given by [`FakeExecutor::scripted`], or else the one its command words
//! spell (see [`words`]); any ordinary command is a no-op that exits 0 at once. The fake is strict where real engines are
//! lenient: a wrong call order is [`ExecutorError::CallOrder`]. It remembers calls and counts what was not destroyed, so
//! that a test can see a leak.

mod command;
mod script;
#[cfg(test)]
mod tests;
pub mod words;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gantry_domain::worker::ExecutorKind;
use tokio_util::sync::CancellationToken;

pub use self::script::{Gate, Prepare, Script, Step};
use crate::{AttemptKey, AttemptSpec, Executor, ExecutorError, Exit, OutputStream, Progress, TarStream};
use command::Command;

/// The calls of [`Executor`], by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    Prepare,
    Start,
    Wait,
    Stop,
    Collect,
    Destroy,
    Leftovers,
    Check,
}

/// One call as it came in; `key` is `None` for those that concern no attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub verb: Verb,
    pub key: Option<AttemptKey>,
}

/// Calls and specifications that are remembered; older ones are forgotten.
const REMEMBERED: usize = 10_000;

type Scripts = Box<dyn Fn(&AttemptSpec) -> Result<Script, ExecutorError> + Send + Sync>;

/// The fake; shared with the worker as an `Arc`, kept by the test as another.
pub struct FakeExecutor {
    scripts: Scripts,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sandboxes: HashMap<AttemptKey, Arc<Sandbox>>,
    left_behind: HashSet<AttemptKey>,
    calls: VecDeque<Call>,
    specs: VecDeque<AttemptSpec>,
    failures: HashMap<Verb, VecDeque<ExecutorError>>,
}

struct Sandbox {
    spec: AttemptSpec,
    script: Script,
    phase: Mutex<Phase>,
    destroyed: CancellationToken,
}

/// `Preparing` stays after a dropped `prepare`: then only `destroy` may follow.
enum Phase {
    Preparing,
    Prepared,
    Started(Arc<Command>),
}

impl Default for FakeExecutor {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeExecutor {
    /// Attempts do what their command words spell.
    pub fn new() -> Self {
        Self::with(Box::new(|spec| {
            spec.command.as_deref().map_or_else(|| Ok(Script::default()), Script::from_words)
        }))
    }

    /// Attempts do what `script` says of them, whatever their command is.
    pub fn scripted(script: impl Fn(&AttemptSpec) -> Script + Send + Sync + 'static) -> Self {
        Self::with(Box::new(move |spec| Ok(script(spec))))
    }

    fn with(scripts: Scripts) -> Self {
        Self { scripts, state: Mutex::default() }
    }

    /// The next call of `verb` fails with `error`; several queue up.
    pub fn fail_next(&self, verb: Verb, error: ExecutorError) {
        self.state().failures.entry(verb).or_default().push_back(error);
    }

    /// Pretends that a worker died and left this attempt behind.
    pub fn leave_behind(&self, key: AttemptKey) {
        self.state().left_behind.insert(key);
    }

    /// Attempts that were prepared (or tried to be) and not destroyed.
    pub fn live(&self) -> usize {
        let state = self.state();
        state.sandboxes.len() + state.left_behind.len()
    }

    /// The latest 10,000 calls, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.iter().copied().collect()
    }

    /// What was called for one attempt, in order.
    pub fn calls_for(&self, key: AttemptKey) -> Vec<Verb> {
        self.state().calls.iter().filter(|call| call.key == Some(key)).map(|call| call.verb).collect()
    }

    /// The latest 10,000 specifications `prepare` was given, oldest first.
    pub fn specs(&self) -> Vec<AttemptSpec> {
        self.state().specs.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn called(&self, verb: Verb, key: Option<AttemptKey>) -> Result<MutexGuard<'_, State>, ExecutorError> {
        let mut state = self.state();
        remember(&mut state.calls, Call { verb, key });
        match state.failures.get_mut(&verb).and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }

    fn started(&self, verb: Verb, key: AttemptKey) -> Result<Arc<Command>, ExecutorError> {
        let state = self.called(verb, Some(key))?;
        let sandbox = state.sandboxes.get(&key).ok_or_else(|| wrong_order("the attempt is not prepared"))?;
        match &*sandbox.phase() {
            Phase::Started(command) => Ok(Arc::clone(command)),
            _ => Err(wrong_order("the command is not started")),
        }
    }
}

fn remember<T>(latest: &mut VecDeque<T>, item: T) {
    if latest.len() == REMEMBERED {
        latest.pop_front();
    }
    latest.push_back(item);
}

fn wrong_order(what: &str) -> ExecutorError {
    ExecutorError::CallOrder(what.to_owned())
}

impl Sandbox {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Executor for FakeExecutor {
    fn kind(&self) -> ExecutorKind {
        ExecutorKind::Fake
    }

    async fn prepare(&self, attempt: &AttemptSpec, progress: &dyn Progress) -> Result<(), ExecutorError> {
        let script = (self.scripts)(attempt);
        let sandbox = {
            let mut state = self.called(Verb::Prepare, Some(attempt.key))?;
            remember(&mut state.specs, attempt.clone());
            if state.sandboxes.contains_key(&attempt.key) {
                return Err(wrong_order("the attempt is prepared already"));
            }
            let sandbox = Arc::new(Sandbox {
                spec: attempt.clone(),
                script: script?,
                phase: Mutex::new(Phase::Preparing),
                destroyed: CancellationToken::new(),
            });
            state.sandboxes.insert(attempt.key, Arc::clone(&sandbox));
            sandbox
        };
        for line in &sandbox.script.progress {
            progress.line(line.clone());
        }
        match &sandbox.script.prepare {
            Prepare::Succeed => {}
            Prepare::Fail(error) => return Err(error.clone()),
            Prepare::Hold(gate) => tokio::select! {
                () = gate.passed() => {}
                () = sandbox.destroyed.cancelled() => {
                    return Err(wrong_order("the attempt was destroyed while it was prepared"));
                }
            },
        }
        *sandbox.phase() = Phase::Prepared;
        Ok(())
    }

    async fn start(&self, key: AttemptKey) -> Result<OutputStream, ExecutorError> {
        let state = self.called(Verb::Start, Some(key))?;
        let sandbox = state.sandboxes.get(&key).ok_or_else(|| wrong_order("the attempt is not prepared"))?;
        let mut phase = sandbox.phase();
        match &*phase {
            Phase::Preparing => return Err(wrong_order("`prepare` has not succeeded")),
            Phase::Started(_) => return Err(wrong_order("the command is started already")),
            Phase::Prepared => {}
        }
        if let Some(error) = &sandbox.script.refuse_start {
            return Err(error.clone());
        }
        let (command, output) = Command::start(sandbox.script.clone(), &sandbox.spec.environment);
        *phase = Phase::Started(Arc::new(command));
        Ok(output)
    }

    async fn wait(&self, key: AttemptKey) -> Result<Exit, ExecutorError> {
        self.started(Verb::Wait, key)?.wait().await
    }

    async fn stop(&self, key: AttemptKey, grace: Duration) -> Result<(), ExecutorError> {
        let command = {
            let state = self.called(Verb::Stop, Some(key))?;
            state.sandboxes.get(&key).and_then(|sandbox| match &*sandbox.phase() {
                Phase::Started(command) => Some(Arc::clone(command)),
                _ => None,
            })
        };
        if let Some(command) = command {
            command.stop(grace).await;
        }
        Ok(())
    }

    async fn collect(&self, key: AttemptKey, paths: &[String]) -> Result<TarStream, ExecutorError> {
        let command = self.started(Verb::Collect, key)?;
        if !command.waited() {
            return Err(wrong_order("`wait` has not returned"));
        }
        command.collect(paths)
    }

    async fn destroy(&self, key: AttemptKey) -> Result<(), ExecutorError> {
        let mut state = self.called(Verb::Destroy, Some(key))?;
        state.left_behind.remove(&key);
        if let Some(sandbox) = state.sandboxes.remove(&key) {
            sandbox.destroyed.cancel();
            if let Phase::Started(command) = std::mem::replace(&mut *sandbox.phase(), Phase::Preparing) {
                command.kill();
            }
        }
        Ok(())
    }

    async fn leftovers(&self) -> Result<Vec<AttemptKey>, ExecutorError> {
        let state = self.called(Verb::Leftovers, None)?;
        Ok(state.left_behind.iter().chain(state.sandboxes.keys()).copied().collect())
    }

    async fn check(&self) -> Result<String, ExecutorError> {
        drop(self.called(Verb::Check, None)?);
        Ok("fake: runs nothing".to_owned())
    }
}

//! What holds after any fault, whatever it was: every accepted run ended exactly once, every attempt is recorded once and
//! one decides, nothing took effect more often than promised, and nothing is left over.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures::{StreamExt as _, TryStreamExt as _};
use gantry_api_types::run::{Attempt, ReasonCode, Run, Status};
use gantry_client::{ApiClient, LogQuery};
use gantry_domain::id::RunId;
use tokio::time::Instant;

use super::Promise;
use crate::PATIENCE;
use crate::cluster::Cluster;

/// Logs that are compared byte by byte, spread over all runs.
const LOGS: usize = 60;
const AT_ONCE: usize = 16;

/// Ends that a fault may bring, besides `passed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Runs that may be started once only, and those whose attempts are used up, may end `error/lost`.
    Lost,
    /// Nothing but `passed`.
    Nothing,
}

/// What was found.
#[derive(Debug)]
pub struct Checked {
    pub accepted: usize,
    pub finished: usize,
    /// Effects of one attempt beyond its first.
    pub duplicates: usize,
    /// Runs that ended `error/lost`, as they may.
    pub ended_lost: usize,
    /// Attempts in all.
    pub attempts: usize,
    /// The longest time from a fault to the end of a run that was accepted before it.
    pub recovery: Option<Duration>,
    pub runs: Vec<Run>,
}

/// Checks the invariants of one deployment.
pub struct Checker<'a> {
    pub cluster: &'a Cluster,
    pub promised: &'a BTreeMap<String, Promise>,
    pub effects: &'a Path,
    pub allowed: Allowed,
    /// When something was broken, or repaired: what recovery counts from.
    pub faults: &'a [SystemTime],
}

impl Checker<'_> {
    /// Waits until everything ended and judges it. Panics with what is wrong.
    pub async fn check(&self) -> Checked {
        let runs = self.ended().await;
        assert_eq!(
            runs.len(),
            self.promised.len(),
            "a run that nobody was promised, or a promised one that is gone"
        );
        let effects = self.counted_effects();
        let client = self.cluster.client();
        let attempts: HashMap<String, Vec<Attempt>> = futures::stream::iter(&runs)
            .map(|run| {
                let client = client.clone();
                async move {
                    let id: RunId = run.id.parse().expect("a run id");
                    (run.id.clone(), client.attempts(id).await.expect("the attempts").items)
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let (mut duplicates, mut ended_lost, mut tries) = (0, 0, 0);
        for run in &runs {
            let promise =
                self.promised.get(&run.id).unwrap_or_else(|| panic!("{} was never promised", run.id));
            let attempts = &attempts[&run.id];
            judge_attempts(run, attempts);
            tries += attempts.len();
            let effects = effects.get(run.id.as_str());
            duplicates += effects.map_or(0, |effects| effects.values().map(|n| n - 1).sum());
            self.judge_effects(run, promise, effects);
            ended_lost += usize::from(run.status != Status::Passed);
        }
        assert_eq!(duplicates, 0, "an attempt took effect twice");
        let unknown: Vec<_> = effects.keys().filter(|id| !self.promised.contains_key(**id)).collect();
        assert!(unknown.is_empty(), "effects of runs that do not exist: {unknown:?}");
        self.compare_logs(&client, &runs).await;
        self.nothing_waits(&client).await;
        Checked {
            accepted: self.promised.len(),
            finished: runs.len(),
            duplicates,
            ended_lost,
            attempts: tries,
            recovery: recovery(self.faults, &runs),
            runs,
        }
    }

    /// Many runs may take their time; what counts is that it goes on.
    async fn ended(&self) -> Vec<Run> {
        let (mut left, mut deadline) = (usize::MAX, Instant::now() + PATIENCE);
        loop {
            let asked = Instant::now();
            if let Ok(runs) = self.cluster.runs().await {
                let waiting: Vec<&Run> = runs.iter().filter(|run| !run.status.is_final()).collect();
                if waiting.is_empty() {
                    return runs;
                }
                if waiting.len() < left {
                    (left, deadline) = (waiting.len(), Instant::now() + PATIENCE);
                }
                assert!(Instant::now() < deadline, "{} runs never end, such as {:?}", left, waiting[0]);
            }
            assert!(Instant::now() < deadline, "the runs cannot be listed");
            // Listing thousands is work, which those that still wait shall not wait for.
            tokio::time::sleep(Duration::from_millis(200).max(2 * asked.elapsed())).await;
        }
    }

    /// Per run and attempt.
    fn counted_effects(&self) -> HashMap<&'static str, BTreeMap<u32, usize>> {
        let text = std::fs::read_to_string(self.effects).expect("the effects").leak();
        let mut effects: HashMap<&str, BTreeMap<u32, usize>> = HashMap::new();
        for line in text.lines() {
            let (run, attempt) = line.split_once(' ').expect("a run and an attempt");
            let attempt = attempt.parse().expect("an attempt's number");
            *effects.entry(run).or_default().entry(attempt).or_default() += 1;
        }
        effects
    }

    fn judge_effects(&self, run: &Run, promise: &Promise, effects: Option<&BTreeMap<u32, usize>>) {
        let count: usize = effects.map_or(0, |effects| effects.values().sum());
        assert!(count <= run.attempt as usize, "{count} effects of {} attempts: {run:?}", run.attempt);
        assert!(
            !promise.at_most_once || count <= 1,
            "{count} effects, and one at most was promised: {run:?}"
        );
        match run.status {
            Status::Passed => {
                let deciding = effects.is_some_and(|effects| effects.contains_key(&run.attempt));
                assert!(deciding, "it passed without the effect of its last attempt: {run:?} {effects:?}");
            }
            Status::Error => {
                let reason = run.reason.as_ref().map(|reason| reason.code);
                assert_eq!(reason, Some(ReasonCode::Lost), "{run:?}");
                assert_eq!(self.allowed, Allowed::Lost, "{run:?}");
                assert!(
                    promise.at_most_once || run.attempt == run.max_attempts,
                    "given up too early: {run:?}"
                );
            }
            other => panic!("{other:?} cannot come of this fault: {run:?}"),
        }
    }

    async fn compare_logs(&self, client: &ApiClient, runs: &[Run]) {
        let passed: Vec<&Run> = runs.iter().filter(|run| run.status == Status::Passed).collect();
        for run in passed.iter().step_by((passed.len() / LOGS).max(1)) {
            let id: RunId = run.id.parse().expect("a run id");
            let log = client.logs(id, LogQuery::default(), None).await.expect("the log");
            let log: Vec<_> = log.try_collect().await.expect("the whole log");
            let log = String::from_utf8_lossy(&log.concat()).into_owned();
            assert_eq!(log, self.promised[&run.id].log, "the log of {run:?}");
        }
    }

    /// Nothing is counted as waiting or running that has ended.
    async fn nothing_waits(&self, client: &ApiClient) {
        crate::eventually("nothing waits or runs", || async {
            let pools = client.queue().await.ok()?.pools;
            pools.iter().all(|pool| pool.backlog == 0).then_some(())
        })
        .await;
    }
}

/// Every attempt is there once, all are over, and the last one decided.
fn judge_attempts(run: &Run, attempts: &[Attempt]) {
    let numbers: Vec<u32> = attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (1..=run.attempt).collect::<Vec<_>>(), "{run:?}");
    for attempt in attempts {
        assert!(
            attempt.status.is_some() && attempt.finished_at.is_some(),
            "an open attempt of {run:?}: {attempt:?}"
        );
    }
    for pair in attempts.windows(2) {
        assert!(pair[0].finished_at <= Some(pair[1].claimed_at), "two attempts at a time: {attempts:?}");
        assert_ne!(
            pair[0].status,
            Some(Status::Passed),
            "an attempt after the one that passed: {attempts:?}"
        );
    }
    if let Some(last) = attempts.last() {
        assert_eq!(last.status, Some(run.status), "{run:?}: {last:?}");
    }
}

fn recovery(faults: &[SystemTime], runs: &[Run]) -> Option<Duration> {
    let millis = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    };
    let mut slowest = None;
    for fault in faults.iter().map(|fault| millis(*fault)) {
        let before = runs.iter().filter(|run| run.created_at.as_millis() <= fault);
        let last = before.filter_map(|run| Some(run.finished_at?.as_millis())).max();
        let took = last.map(|last| Duration::from_millis(u64::try_from(last - fault).unwrap_or(0)));
        slowest = slowest.max(took);
    }
    slowest
}

//! kill -9 of `gantry up` at random moments, while runs are accepted all the time: every accepted run reaches exactly
//! one final state, none takes effect more often than promised, and nothing is left running.
//!
//! `GANTRY_CRASH_ROUNDS` sets how often it is killed (10 if absent), `GANTRY_CRASH_SEED` repeats a sequence.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt as _;
use gantry_api_types::request::CreateRun;
use gantry_api_types::run::{Run, Status};
use gantry_client::{ApiClient, RunFilter, Transport};
use gantry_tests::{Installation, eventually};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// What submitters need: where the server is at the moment.
#[derive(Default)]
struct Target(Mutex<Option<(String, String)>>);

impl Target {
    fn client(&self) -> Option<ApiClient> {
        let at = self.0.lock().unwrap().clone();
        at.map(|(url, key)| ApiClient::new(Transport::http(&url).unwrap(), &key))
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Half of the runs may take effect once at most; all of them write their id into one file.
fn request(effects: &Path, i: u64) -> CreateRun {
    let script = format!("echo $GANTRY_RUN_ID >> {}; sleep 0.0$((RANDOM % 10)); exit 0", effects.display());
    CreateRun {
        command: Some(vec!["bash".into(), "-c".into(), script]),
        at_most_once: Some(i.is_multiple_of(2)),
        artifacts: Some(vec![]),
        ..CreateRun::default()
    }
}

/// Submits until told to stop; a run whose answer was lost is submitted again under the same key.
async fn submit(
    target: Arc<Target>,
    effects: Arc<std::path::PathBuf>,
    numbers: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Vec<Run> {
    let mut accepted = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let i = numbers.fetch_add(1, Ordering::SeqCst);
        let request = request(&effects, i);
        let run = eventually("an answer to a submission", || async {
            let client = target.client()?;
            match client.create_run(&request, Some(&format!("crash-{i}"))).await {
                Ok(run) => Some(run),
                Err(error) => {
                    assert!(error.status().is_none_or(|s| s.as_u16() == 503 || s.as_u16() == 409), "{error}");
                    None
                }
            }
        })
        .await;
        accepted.push(run);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    accepted
}

/// Processes of this machine whose environment names this directory, other than our own child.
fn processes_of(dir: &Path) -> Vec<String> {
    let marker = dir.as_os_str().as_encoded_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.windows(marker.len()).any(|window| window == marker) {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&command).replace('\0', " "));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gantry_loses_nothing_it_accepted_and_leaves_nothing_behind() {
    let rounds = number("GANTRY_CRASH_ROUNDS").unwrap_or(10);
    let seed = number("GANTRY_CRASH_SEED").unwrap_or_else(rand::random);
    println!("rounds {rounds}, seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let installation = Installation::new("process").unwrap().set("GANTRY_SLOTS", "4");
    let effects = Arc::new(installation.scratch().join("effects"));
    let (target, numbers, stop) =
        (Arc::new(Target::default()), Arc::default(), Arc::new(AtomicBool::new(false)));

    let submitters: Vec<_> = (0..3)
        .map(|_| tokio::spawn(submit(target.clone(), effects.clone(), Arc::clone(&numbers), stop.clone())))
        .collect();
    for round in 0..rounds {
        let up = installation.up().unwrap_or_else(|error| panic!("round {round}: {error}"));
        *target.0.lock().unwrap() = Some((up.url.clone(), up.key.clone()));
        tokio::time::sleep(Duration::from_millis(random.random_range(50..1500))).await;
        *target.0.lock().unwrap() = None;
        up.kill().unwrap();
    }

    let up = installation.up().unwrap();
    *target.0.lock().unwrap() = Some((up.url.clone(), up.key.clone()));
    stop.store(true, Ordering::SeqCst);
    let mut accepted = HashMap::new();
    for submitter in submitters {
        for run in submitter.await.unwrap() {
            assert!(accepted.insert(run.id.clone(), run).is_none(), "two keys, one run");
        }
    }
    println!("accepted {}", accepted.len());
    assert!(accepted.len() as u64 > rounds, "hardly anything was accepted: {}", accepted.len());

    let client = up.client().unwrap();
    // Many rounds leave more to do than fits into one wait; what counts is that it goes on.
    let mut left = usize::MAX;
    let all: Vec<Run> = loop {
        let (runs, now_left) = eventually("fewer runs left", || async {
            let runs: Vec<Run> = client.all_runs(RunFilter::default()).try_collect().await.unwrap();
            let now_left = runs.iter().filter(|run| !run.status.is_final()).count();
            (now_left < left || now_left == 0).then_some((runs, now_left))
        })
        .await;
        if now_left == 0 {
            break runs;
        }
        left = now_left;
    };
    assert_eq!(all.len(), accepted.len(), "a run that nobody was promised, or a promised one that is gone");

    let mut effect_counts: BTreeMap<String, u32> = BTreeMap::new();
    for id in std::fs::read_to_string(&*effects).unwrap_or_default().lines() {
        *effect_counts.entry(id.to_owned()).or_default() += 1;
    }
    let mut statuses: BTreeMap<&str, u32> = BTreeMap::new();
    for run in &all {
        assert!(accepted.contains_key(&run.id), "{} was never promised", run.id);
        *statuses.entry(run.status.as_str()).or_default() += 1;
        let effects = effect_counts.remove(&run.id).unwrap_or(0);
        match run.status {
            Status::Passed if run.spec.at_most_once => assert_eq!(effects, 1, "{run:?}"),
            Status::Passed => assert!((1..=run.attempt).contains(&effects), "{effects} effects: {run:?}"),
            // Lost: it may have taken effect, but never more often than it was tried.
            Status::Error if run.spec.at_most_once => assert!(effects <= 1, "{effects} effects: {run:?}"),
            Status::Error => assert!(effects <= run.attempt, "{effects} effects: {run:?}"),
            other => panic!("{other:?} cannot come of a crash: {run:?}"),
        }
    }
    println!("ended {statuses:?}");
    assert!(effect_counts.is_empty(), "effects of runs that do not exist: {effect_counts:?}");

    up.stop().unwrap();
    eventually("no process left", || async {
        processes_of(&installation.data_dir().join("work")).is_empty().then_some(())
    })
    .await;
    let left = std::fs::read_dir(installation.data_dir().join("work")).map(|dir| dir.count()).unwrap_or(0);
    assert_eq!(left, 0, "workspaces left behind");
}

//! What is answered survives `kill -9`: a child process accepts runs and says which until it is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests fail by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::RunStatus;
use gantry_store::contract::fixtures::*;
use gantry_store::sqlite::{self, SqliteOptions};
use gantry_store::{Accepted, Durability, ListFilter};

const FILE: &str = "GANTRY_TEST_STORE_FILE";
const ORGANIZATION: OrganizationId = OrganizationId::from_u128(42);

/// Not a test of its own: the body of the child.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the tests below"]
async fn accept_until_killed() {
    let sqlite =
        sqlite::open(SqliteOptions::new(std::env::var(FILE).expect("started by a test below"))).unwrap();
    let accepting = (0..16).map(|_| {
        let stores = sqlite.stores();
        tokio::spawn(async move {
            loop {
                let new = run_with(ORGANIZATION, |run| run.spec.group = Some("g".into()));
                let Accepted::Created(run) = stores.runs.accept(new).await.unwrap() else {
                    panic!("not new")
                };
                println!("accepted {} {} .", run.id, run.number);
                let held = run.hold(gantry_domain::run::Hold::Paused).unwrap();
                stores.runs.transition(&held, Durability::Relaxed).await.unwrap();
                println!("held {} .", run.id);
            }
        })
    });
    let (first_to_fail, ..) = futures::future::select_all(accepting.collect::<Vec<_>>()).await;
    panic!("accepting ended: {:?}", first_to_fail.err());
}

fn start(file: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "accept_until_killed", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_answered_survives_being_killed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gantry.db");
    let (mut accepted, mut held) = (Vec::<(RunId, u64)>::new(), Vec::<RunId>::new());
    for round in 1..=6_u32 {
        let mut child = start(&path);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let deadline = Instant::now() + Duration::from_millis(u64::from(round) * 37);
        let mut enough = 0;
        let mut killed = false;
        for line in lines {
            let line = line.unwrap();
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                // The last line may be cut short by the kill: after its number there is a word more.
                ["accepted", id, number, "."] => {
                    accepted.push((id.parse().unwrap(), number.parse().unwrap()));
                }
                ["held", id, "."] => held.push(id.parse().unwrap()),
                _ => continue,
            }
            enough += 1;
            if !killed && enough > 20 && Instant::now() >= deadline {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "the child ended by itself in round {round}");
    }
    assert!(accepted.len() > 100);

    let sqlite = sqlite::open(SqliteOptions::new(&path)).unwrap();
    let stores = sqlite.stores();
    let mut numbers = std::collections::BTreeSet::new();
    for (id, number) in &accepted {
        assert_eq!(find(&stores, *id).await.number, *number);
        assert!(numbers.insert(number), "number {number} twice");
    }
    for id in &held {
        assert_eq!(find(&stores, *id).await.version, 2);
    }
    // Whatever was in flight happened as a whole or not at all: every count agrees with the rows.
    let (mut there, mut after) = (0, None);
    loop {
        let page = stores.runs.list(ORGANIZATION, &ListFilter::default(), after, 200).await.unwrap();
        there += page.items.len() as u64;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert!(there >= accepted.len() as u64);
    assert_eq!(stores.dispatch.depths().await.unwrap()[0].pending, there);
    let group = stores.runs.groups(ORGANIZATION, None, 10).await.unwrap().items.remove(0);
    assert_eq!((group.runs, group.by_status), (there, vec![(RunStatus::Pending, there)]));
    sqlite.close().await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

/// A crash in the middle of a batch leaves the end of the log half written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_cut_anywhere_holds_whole_transactions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gantry.db");
    let sqlite = sqlite::open(SqliteOptions::new(&path)).unwrap();
    let accepting = (0..300).map(|_| {
        let stores = sqlite.stores();
        let new = run_with(ORGANIZATION, |run| run.spec.group = Some("g".into()));
        tokio::spawn(async move { accept(&stores, new).await })
    });
    for task in accepting.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let log = std::fs::read(directory.path().join("gantry.db-wal")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for cut in (0..=40).map(|part| log.len() * part / 40) {
        let copies = tempfile::tempdir().unwrap();
        let copy = copies.path().join("gantry.db");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::write(copies.path().join("gantry.db-wal"), &log[..cut]).unwrap();
        let cut_off = sqlite::open(SqliteOptions::new(&copy)).unwrap();
        let stores = cut_off.stores();
        let there = stores.runs.list(ORGANIZATION, &ListFilter::default(), None, 500).await.unwrap().items;
        let count = there.len() as u64;
        let mut numbers: Vec<_> = there.iter().map(|run| run.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
        assert_eq!(stores.dispatch.depths().await.unwrap().first().map_or(0, |depth| depth.pending), count);
        let groups = stores.runs.groups(ORGANIZATION, None, 10).await.unwrap().items;
        assert_eq!(groups.first().map_or(0, |group| group.runs), count);
        assert_eq!(stores.dispatch.ready(&Default::default(), 500).await.unwrap().len() as u64, count);
        assert_eq!(accepted(&stores, ORGANIZATION).await.number, count + 1);
        seen.insert(count);
    }
    assert!(seen.contains(&0) && seen.contains(&300) && seen.len() > 2, "{seen:?}");
}

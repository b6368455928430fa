use gantry_domain::attempt::{Observation, Warning};
use gantry_domain::id::{OrganizationId, RunId, WorkerId};
use gantry_domain::log::{LogChunk, LogStream, Segment};
use gantry_domain::results::{TestResult, TestStatus, TestSummary};
use gantry_domain::run::{Actor, AttemptReport, Hold, RunStatus, Timings};

use super::fixtures::*;
use crate::{Acquired, Deleted, Durability, Limit, LogKey, Stores, Transition};

pub async fn a_change_needs_the_version_before_it(stores: Stores) {
    let run = accepted(&stores, OrganizationId::new()).await;
    let held = run.hold(Hold::Paused).unwrap();
    let late = run.hold(Hold::Workers).unwrap();
    assert_eq!(stores.runs.transition(&held, Durability::Synced).await.unwrap(), Transition::Updated);
    let conflict = stores.runs.transition(&late, Durability::Synced).await.unwrap();
    assert_eq!(conflict, Transition::Conflict(held.clone()));
    assert_eq!(find(&stores, run.id).await, held);
}

pub async fn a_change_of_nothing_is_not_found(stores: Stores) {
    let mut run = accepted(&stores, OrganizationId::new()).await.hold(Hold::Paused).unwrap();
    run.id = RunId::new();
    assert_eq!(stores.runs.transition(&run, Durability::Relaxed).await.unwrap(), Transition::NotFound);
}

pub async fn of_many_parallel_changes_one_wins(stores: Stores) {
    let run = accepted(&stores, OrganizationId::new()).await;
    let changes = (0..20).map(|i| {
        let next = run.hold(Hold::Limit { key: format!("k{i}") }).unwrap();
        let stores = stores.clone();
        tokio::spawn(async move {
            (next.clone(), stores.runs.transition(&next, Durability::Relaxed).await.unwrap())
        })
    });
    let mut outcomes = Vec::new();
    for change in changes.collect::<Vec<_>>() {
        outcomes.push(change.await.unwrap());
    }
    let winners: Vec<_> = outcomes.iter().filter(|(_, outcome)| *outcome == Transition::Updated).collect();
    assert_eq!(winners.len(), 1);
    let stored = find(&stores, run.id).await;
    assert_eq!(winners[0].0, stored);
    assert_eq!(outcomes.iter().filter(|(_, o)| *o == Transition::Conflict(stored.clone())).count(), 19);
}

pub async fn every_state_survives_storing(stores: Stores) {
    let organization = OrganizationId::new();
    for hold in [Hold::Paused, Hold::Due { at: at(9) }, Hold::Limit { key: "a/b".into() }, Hold::Workers] {
        let run = accepted(&stores, organization).await;
        let held = store(&stores, run.hold(hold).unwrap()).await;
        assert_eq!(find(&stores, run.id).await, held);
    }
    let run = accepted(&stores, organization).await;
    let running = running(&stores, &run, WorkerId::new(), at(45)).await;
    assert_eq!(find(&stores, run.id).await, running);
    let started = store(&stores, running.start(&token(&running), at(1)).unwrap().unwrap()).await;
    assert_eq!(find(&stores, run.id).await, started);
    let asked = store(&stores, started.cancel(Actor::System, at(2)).unwrap().unwrap()).await;
    assert_eq!(find(&stores, run.id).await, asked);
    let analyzing = store(&stores, asked.analyze(&token(&asked), at(3)).unwrap().unwrap()).await;
    assert_eq!(find(&stores, run.id).await, analyzing);
    let report = AttemptReport {
        log_end: 12,
        log_truncated: true,
        tests: TestSummary { total: 3, passed: 1, failed: 2, ..TestSummary::default() },
        warnings: vec![Warning::child_oom()],
        timings: Timings { prepare_ms: Some(1), execute_ms: Some(2), collect_ms: None },
    };
    let observation = Observation::Exited { code: 3, oom_killed: true };
    let (over, _) = analyzing.finish(&token(&analyzing), &observation, report, at(4)).unwrap();
    let over = store(&stores, over).await;
    assert!(over.is_final());
    assert_eq!(find(&stores, run.id).await, over);
}

pub async fn only_a_run_that_is_over_can_be_deleted(stores: Stores) {
    let organization = OrganizationId::new();
    let run = accepted(&stores, organization).await;
    let still = Deleted::StillGoing(RunStatus::Pending);
    assert_eq!(stores.runs.delete(organization, run.id).await.unwrap(), still);
    let over = finished(&stores, &run, 0, at(1)).await;
    assert_eq!(stores.runs.delete(organization, over.id).await.unwrap(), Deleted::Deleted);
    assert_eq!(stores.runs.delete(organization, over.id).await.unwrap(), Deleted::NotFound);
    assert_eq!(stores.runs.find(over.id).await.unwrap(), None);
    assert_eq!(accepted(&stores, organization).await.number, run.number + 1, "numbers are not given twice");
}

pub async fn deleting_takes_everything_along(stores: Stores) {
    let organization = OrganizationId::new();
    let gone = finished(&stores, &accepted(&stores, organization).await, 0, at(1)).await;
    let stays = finished(&stores, &accepted(&stores, organization).await, 0, at(1)).await;
    let result = TestResult {
        file: None,
        suite: "s".into(),
        name: "n".into(),
        status: TestStatus::Passed,
        duration_ms: 1,
        message: None,
        retries: 0,
    };
    let key = |run: RunId| LogKey { organization, run, attempt: 1 };
    for run in [gone.id, stays.id] {
        let segment = Segment { stream: LogStream::Stdout, time: T0, length: 2 };
        let chunk = LogChunk::new(0, vec![segment], bytes::Bytes::from_static(b"hi")).unwrap();
        stores.logs.append(key(run), &chunk).await.unwrap();
        stores.tests.put(key(run), std::slice::from_ref(&result)).await.unwrap();
        let limit = Limit { key: "l".into(), max: 9 };
        assert_eq!(stores.dispatch.acquire(run, &[limit]).await.unwrap(), Acquired::All);
    }
    assert_eq!(stores.runs.delete(organization, gone.id).await.unwrap(), Deleted::Deleted);
    assert_eq!(stores.logs.end(key(gone.id)).await.unwrap(), 0);
    assert_eq!(stores.logs.read(key(gone.id), 0, 100).await.unwrap(), []);
    assert_eq!(stores.tests.list(key(gone.id), &[], 0, 10).await.unwrap(), []);
    assert_eq!(stores.dispatch.holders().await.unwrap(), [("l".to_owned(), stays.id)]);
    assert_eq!(stores.logs.end(key(stays.id)).await.unwrap(), 2);
    assert_eq!(stores.tests.list(key(stays.id), &[], 0, 10).await.unwrap().len(), 1);
}

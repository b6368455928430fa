use gantry_domain::attempt::SMALL_LOG_BYTES;
use gantry_domain::id::OrganizationId;
use gantry_domain::run::Hold;
use gantry_domain::spec::Priority;

use super::fixtures::*;
use crate::Stores;

pub async fn due_runs_come_when_their_time_has_come(stores: Stores) {
    let organization = OrganizationId::new();
    let mut held = Vec::new();
    for seconds in [30, 10, 20] {
        let run = accepted(&stores, organization).await;
        held.push(store(&stores, run.hold(Hold::Due { at: at(seconds) }).unwrap()).await);
    }
    accepted(&stores, organization).await;
    assert_eq!(stores.runs.due(at(9), 10).await.unwrap(), (vec![], Some(at(10))));
    let (due, next) = stores.runs.due(at(20), 10).await.unwrap();
    assert_eq!((due, next), (vec![held[1].clone(), held[2].clone()], Some(at(30))));
    let (due, next) = stores.runs.due(at(30), 10).await.unwrap();
    assert_eq!((due.len(), next), (3, None));
    store(&stores, held[1].hold(Hold::Workers).unwrap()).await;
    assert_eq!(stores.runs.due(at(30), 10).await.unwrap().0.len(), 2);
}

pub async fn unclaimed_runs_come_oldest_first(stores: Stores) {
    let organization = OrganizationId::new();
    let mut waiting = Vec::new();
    for seconds in [30, 10, 20] {
        let run = accepted(&stores, organization).await;
        waiting.push(queued(&stores, &run, at(seconds)).await);
    }
    running(&stores, &accepted(&stores, organization).await, gantry_domain::id::WorkerId::new(), at(45))
        .await;
    let unclaimed = stores.runs.unclaimed(at(30), 10).await.unwrap();
    assert_eq!(unclaimed, [waiting[1].clone(), waiting[2].clone()]);
    assert_eq!(ids(&stores.runs.unclaimed(at(99), 1).await.unwrap()), [waiting[1].id]);
}

pub async fn waiting_runs_are_pending_or_queued(stores: Stores) {
    let organization = OrganizationId::new();
    let pending = accepted(&stores, organization).await;
    let queued = queued(&stores, &accepted(&stores, organization).await, at(1)).await;
    let young = accept(&stores, run_with(organization, |run| run.created_at = at(50))).await;
    running(&stores, &accepted(&stores, organization).await, gantry_domain::id::WorkerId::new(), at(45))
        .await;
    finished(&stores, &accepted(&stores, organization).await, 0, at(2)).await;
    let mut waiting = ids(&stores.runs.waiting_since(at(50), 10).await.unwrap());
    waiting.sort();
    assert_eq!(waiting, [pending.id, queued.id]);
    assert_eq!(stores.runs.waiting_since(at(51), 10).await.unwrap().len(), 3);
    assert_eq!(stores.runs.waiting_since(at(51), 2).await.unwrap().len(), 2);
    assert!(stores.runs.waiting_since(at(51), 10).await.unwrap().contains(&young));
}

pub async fn long_logs_of_ended_attempts_are_due(stores: Stores) {
    let organization = OrganizationId::new();
    let running = async || {
        let worker = gantry_domain::id::WorkerId::new();
        running(&stores, &accepted(&stores, organization).await, worker, at(45)).await
    };
    let ended = async |log_end, end| {
        let run = running().await;
        store(&stores, run.lose(log_end, at(end)).unwrap().0).await
    };
    let early = ended(SMALL_LOG_BYTES + 1, 10).await;
    ended(SMALL_LOG_BYTES + 1, 20).await;
    ended(SMALL_LOG_BYTES, 1).await;
    running().await;
    let first = ended(1 << 20, 5).await;
    assert!(!first.is_final(), "an attempt is over, though the run is not");
    assert_eq!(ids(&stores.runs.logs_due(at(20), 10).await.unwrap()), [first.id, early.id]);
    let sealed = store(&stores, early.log_sealed(1, at(30)).unwrap()).await;
    assert_eq!(find(&stores, early.id).await, sealed);
    assert_eq!(ids(&stores.runs.logs_due(at(20), 10).await.unwrap()), [first.id]);
    assert_eq!(stores.runs.logs_due(at(30), 10).await.unwrap().len(), 2);
    assert_eq!(stores.runs.logs_due(at(31), 10).await.unwrap().len(), 3, "its chunks can go now");
    store(&stores, sealed.log_cleared(1).unwrap()).await;
    assert_eq!(stores.runs.logs_due(at(99), 10).await.unwrap().len(), 2);
}

pub async fn runs_ahead_are_those_dispatched_before(stores: Stores) {
    let organization = OrganizationId::new();
    let first = accepted(&stores, organization).await;
    let second = accepted(&stores, organization).await;
    let urgent = accept(&stores, run_with(organization, |run| run.spec.priority = Priority::High)).await;
    accept(&stores, run_with(organization, |run| run.spec.pool = pool("gpu"))).await;
    accepted(&stores, OrganizationId::new()).await;
    assert_eq!(stores.runs.ahead_of(&urgent).await.unwrap(), 0);
    assert_eq!(stores.runs.ahead_of(&first).await.unwrap(), 1);
    assert_eq!(stores.runs.ahead_of(&second).await.unwrap(), 2);
    queued(&stores, &urgent, at(1)).await;
    assert_eq!(stores.runs.ahead_of(&second).await.unwrap(), 1);
    let mut many = Vec::new();
    for _ in 0..1100 {
        let mut run = first.clone();
        run.id = gantry_domain::id::RunId::new();
        many.push(run);
    }
    stores.runs.import(many).await.unwrap();
    let last = accepted(&stores, organization).await;
    assert_eq!(stores.runs.ahead_of(&last).await.unwrap(), 1000);
}

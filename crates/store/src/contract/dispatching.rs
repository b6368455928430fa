use std::collections::BTreeSet;

use gantry_domain::id::{OrganizationId, RunId, WorkerId};
use gantry_domain::run::{Hold, Run};
use gantry_domain::spec::{Pool, Priority};

use super::fixtures::*;
use crate::{Acquired, Limit, PoolDepth, Stores};

async fn import_like(stores: &Stores, model: &Run, count: u64) {
    let runs = (0..count).map(|i| Run { id: RunId::new(), number: model.number + 1 + i, ..model.clone() });
    stores.runs.import(runs.collect()).await.unwrap();
}

async fn ready(stores: &Stores, limit: u32) -> Vec<Run> {
    stores.dispatch.ready(&Pool::default(), limit).await.unwrap()
}

/// Takes `count` turns one by one, dispatching each, and answers whose they were.
async fn turns(stores: &Stores, count: usize) -> Vec<OrganizationId> {
    let mut turns = Vec::new();
    for _ in 0..count {
        let picked = ready(stores, 1).await;
        assert_eq!(picked.len(), 1);
        queued(stores, &picked[0], at(1)).await;
        turns.push(picked[0].organization);
    }
    turns
}

pub async fn organizations_take_turns(stores: Stores) {
    let organizations = [OrganizationId::new(), OrganizationId::new(), OrganizationId::new()];
    for organization in organizations {
        let model = accepted(&stores, organization).await;
        import_like(&stores, &model, 29).await;
    }
    let picked = ready(&stores, 30).await;
    for part in picked.chunks(3) {
        let whose: BTreeSet<_> = part.iter().map(|run| run.organization).collect();
        assert_eq!(whose.len(), 3, "each once in three turns");
    }
    for run in &picked {
        queued(&stores, run, at(1)).await;
    }
    for part in turns(&stores, 30).await.chunks(3) {
        assert_eq!(part.iter().collect::<BTreeSet<_>>().len(), 3);
    }
}

pub async fn a_late_organization_is_among_the_first_two(stores: Stores) {
    let (many, one) = (OrganizationId::new(), OrganizationId::new());
    let model = accepted(&stores, many).await;
    import_like(&stores, &model, 9_999).await;
    for run in ready(&stores, 500).await {
        queued(&stores, &run, at(1)).await;
    }
    let late = accepted(&stores, one).await;
    let picked = ready(&stores, 2).await;
    assert!(ids(&picked).contains(&late.id));
}

pub async fn idling_earns_no_credit(stores: Stores) {
    let (idle, busy) = (OrganizationId::new(), OrganizationId::new());
    accepted(&stores, idle).await;
    let model = accepted(&stores, busy).await;
    import_like(&stores, &model, 99).await;
    // The idle one has its turn, then none for long.
    turns(&stores, 60).await;
    let model = accepted(&stores, idle).await;
    import_like(&stores, &model, 99).await;
    let of_idle = turns(&stores, 20).await.into_iter().filter(|whose| *whose == idle).count();
    assert!((9..=11).contains(&of_idle), "{of_idle} of 20 turns");
    // Nor is anybody punished for having worked alone.
    turns(&stores, 121).await;
    assert_eq!(ready(&stores, 1).await, []);
    let model = accepted(&stores, busy).await;
    import_like(&stores, &model, 9).await;
    turns(&stores, 10).await;
    for organization in [idle, busy] {
        let model = accepted(&stores, organization).await;
        import_like(&stores, &model, 9).await;
    }
    let of_busy = turns(&stores, 10).await.into_iter().filter(|whose| *whose == busy).count();
    assert!((4..=6).contains(&of_busy), "{of_busy} of 10 turns");
}

pub async fn one_organization_goes_by_priority_then_age(stores: Stores) {
    let organization = OrganizationId::new();
    let mut runs = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::Critical, Priority::High, Priority::Normal] {
        runs.push(accept(&stores, run_with(organization, |run| run.spec.priority = priority)).await);
    }
    let wanted = [2, 3, 1, 4, 0].map(|i: usize| runs[i].id);
    assert_eq!(ids(&ready(&stores, 10).await), wanted);
    assert_eq!(ready(&stores, 1).await, [runs[2].clone()], "still pending: as they are");
}

pub async fn a_call_gives_no_run_twice(stores: Stores) {
    let mut all = BTreeSet::new();
    for size in [5, 1, 9, 2, 2, 7, 1, 8] {
        let organization = OrganizationId::new();
        for _ in 0..size {
            all.insert(accepted(&stores, organization).await.id);
        }
        // Lanes stand at different places when the next one comes.
        ready(&stores, 3).await;
    }
    for limit in [1, 6, 11, 3, 20, 34, 2, 30] {
        let picked = ids(&ready(&stores, limit).await);
        assert_eq!(picked.len(), limit as usize);
        assert_eq!(picked.into_iter().collect::<BTreeSet<_>>().len(), limit as usize);
    }
    let picked = ids(&ready(&stores, 100).await);
    assert_eq!(picked.len(), 35);
    assert_eq!(picked.into_iter().collect::<BTreeSet<_>>(), all);
}

pub async fn a_run_not_dispatched_after_all_is_found_again(stores: Stores) {
    let run = accepted(&stores, OrganizationId::new()).await;
    for _ in 0..5 {
        assert_eq!(ready(&stores, 10).await, std::slice::from_ref(&run));
    }
    let held = store(&stores, run.hold(Hold::Paused).unwrap()).await;
    assert_eq!(ready(&stores, 10).await, []);
    assert_eq!(ready(&stores, 10).await, []);
    let free = store(&stores, held.hold(Hold::Workers).unwrap()).await;
    assert_eq!(ready(&stores, 10).await, std::slice::from_ref(&free));
    let dispatched = queued(&stores, &free, at(1)).await;
    assert_eq!(ready(&stores, 10).await, []);
    let _ = dispatched;
    let held = running(&stores, &accepted(&stores, run.organization).await, WorkerId::new(), at(45)).await;
    assert_eq!(ready(&stores, 10).await, []);
    let again = store(&stores, held.lose(0, at(46)).unwrap().0).await;
    assert_eq!(ready(&stores, 10).await, [again]);
}

pub async fn only_runs_that_wait_for_workers_are_ready(stores: Stores) {
    let organization = OrganizationId::new();
    for hold in [Hold::Paused, Hold::Due { at: T0 }, Hold::Limit { key: "k".into() }] {
        let run = accepted(&stores, organization).await;
        store(&stores, run.hold(hold).unwrap()).await;
    }
    let free = accepted(&stores, organization).await;
    assert_eq!(ready(&stores, 10).await, [free]);
}

pub async fn pools_do_not_meet(stores: Stores) {
    let organization = OrganizationId::new();
    let plain = accepted(&stores, organization).await;
    let gpu = accept(&stores, run_with(organization, |run| run.spec.pool = pool("gpu"))).await;
    assert_eq!(ready(&stores, 10).await, [plain]);
    assert_eq!(stores.dispatch.ready(&pool("gpu"), 10).await.unwrap(), [gpu]);
    assert_eq!(stores.dispatch.ready(&pool("arm"), 10).await.unwrap(), []);
    assert_eq!(ready(&stores, 0).await, []);
}

fn limit(key: &str, max: u32) -> Limit {
    Limit { key: key.into(), max }
}

fn full(key: &str) -> Acquired {
    Acquired::Full { key: key.into() }
}

pub async fn a_limit_is_never_exceeded(stores: Stores) {
    for _ in 0..5 {
        let tries = (0..50).map(|_| {
            let stores = stores.clone();
            tokio::spawn(async move {
                let run = RunId::new();
                (run, stores.dispatch.acquire(run, &[limit("k", 7)]).await.unwrap())
            })
        });
        let mut took = BTreeSet::new();
        for tried in tries.collect::<Vec<_>>() {
            let (run, outcome) = tried.await.unwrap();
            match outcome {
                Acquired::All => assert!(took.insert(run)),
                Acquired::Full { key } => assert_eq!(key, "k"),
            }
        }
        let holders: BTreeSet<_> =
            stores.dispatch.holders().await.unwrap().into_iter().map(|(_, run)| run).collect();
        assert_eq!(took.len(), 7);
        assert_eq!(took, holders);
        for run in took {
            stores.dispatch.release(run, &["k".to_owned()]).await.unwrap();
        }
    }
}

pub async fn places_are_taken_all_or_none(stores: Stores) {
    let (one, other) = (RunId::new(), RunId::new());
    assert_eq!(stores.dispatch.acquire(one, &[limit("b", 1)]).await.unwrap(), Acquired::All);
    let wanted = [limit("c", 1), limit("b", 1), limit("a", 1)];
    assert_eq!(stores.dispatch.acquire(other, &wanted).await.unwrap(), full("b"));
    assert_eq!(stores.dispatch.holders().await.unwrap(), [("b".to_owned(), one)]);
    assert_eq!(stores.dispatch.acquire(other, &[limit("z", 0)]).await.unwrap(), full("z"));
    assert_eq!(stores.dispatch.acquire(other, &[]).await.unwrap(), Acquired::All);
}

pub async fn taking_places_again_changes_nothing(stores: Stores) {
    let run = RunId::new();
    let wanted = [limit("a", 1), limit("b", 2)];
    for _ in 0..3 {
        assert_eq!(stores.dispatch.acquire(run, &wanted).await.unwrap(), Acquired::All);
    }
    assert_eq!(stores.dispatch.holders().await.unwrap().len(), 2);
    assert_eq!(stores.dispatch.acquire(RunId::new(), &[limit("b", 2)]).await.unwrap(), Acquired::All);
    assert_eq!(stores.dispatch.acquire(RunId::new(), &[limit("b", 2)]).await.unwrap(), full("b"));
}

pub async fn places_are_given_back(stores: Stores) {
    let (one, other) = (RunId::new(), RunId::new());
    stores.dispatch.acquire(one, &[limit("a", 1), limit("b", 1)]).await.unwrap();
    stores.dispatch.release(one, &["a".into(), "never".into()]).await.unwrap();
    assert_eq!(stores.dispatch.acquire(other, &[limit("a", 1)]).await.unwrap(), Acquired::All);
    assert_eq!(stores.dispatch.acquire(other, &[limit("b", 1)]).await.unwrap(), full("b"));
    stores.dispatch.release(one, &["a".into(), "b".into()]).await.unwrap();
    assert_eq!(stores.dispatch.holders().await.unwrap(), [("a".to_owned(), other)]);
}

pub async fn blocked_runs_are_found_by_their_limit(stores: Stores) {
    let organization = OrganizationId::new();
    let mut blocked = Vec::new();
    for (key, priority) in
        [("k", Priority::Normal), ("k", Priority::High), ("j", Priority::Normal), ("k", Priority::Normal)]
    {
        let run = accept(&stores, run_with(organization, |run| run.spec.priority = priority)).await;
        blocked.push(store(&stores, run.hold(Hold::Limit { key: key.into() }).unwrap()).await);
    }
    accepted(&stores, organization).await;
    let wanted = [1, 0, 3].map(|i: usize| blocked[i].id);
    assert_eq!(ids(&stores.dispatch.blocked_on("k", 10).await.unwrap()), wanted);
    assert_eq!(stores.dispatch.blocked_on("k", 1).await.unwrap(), [blocked[1].clone()]);
    assert_eq!(stores.dispatch.blocked_on("none", 10).await.unwrap(), []);
    assert_eq!(stores.dispatch.blocking_keys().await.unwrap(), ["j", "k"]);
    store(&stores, blocked[2].hold(Hold::Workers).unwrap()).await;
    assert_eq!(stores.dispatch.blocking_keys().await.unwrap(), ["k"]);
}

pub async fn depths_count_what_is_not_over(stores: Stores) {
    let (one, other) = (OrganizationId::new(), OrganizationId::new());
    assert_eq!(stores.dispatch.depths().await.unwrap(), []);
    let pending = accepted(&stores, one).await;
    store(&stores, accepted(&stores, one).await.hold(Hold::Paused).unwrap()).await;
    queued(&stores, &accepted(&stores, one).await, at(1)).await;
    let held = running(&stores, &accepted(&stores, one).await, WorkerId::new(), at(45)).await;
    let held = store(&stores, held.analyze(&token(&held), at(2)).unwrap().unwrap()).await;
    running(&stores, &accepted(&stores, other).await, WorkerId::new(), at(45)).await;
    finished(&stores, &accepted(&stores, one).await, 0, at(2)).await;
    accept(&stores, run_with(other, |run| run.spec.pool = pool("gpu"))).await;
    let depth =
        |name: &str, pending, queued, running| PoolDepth { pool: pool(name), pending, queued, running };
    let sorted = |mut depths: Vec<PoolDepth>| {
        depths.sort_by(|a, b| a.pool.cmp(&b.pool));
        depths
    };
    let all = sorted(stores.dispatch.depths().await.unwrap());
    assert_eq!(all, [depth("default", 2, 1, 2), depth("gpu", 1, 0, 0)]);
    let own = sorted(stores.dispatch.organization_depths(one).await.unwrap());
    assert_eq!(own, [depth("default", 2, 1, 1)]);
    let worker = super::fleet::worker("arm", 1);
    stores.workers.put(&worker).await.unwrap();
    let all = sorted(stores.dispatch.depths().await.unwrap());
    assert_eq!(all[0], depth("arm", 0, 0, 0));
    store(&stores, held.lose(0, at(50)).unwrap().0).await;
    store(&stores, pending.hold(Hold::Paused).unwrap()).await;
    let own = sorted(stores.dispatch.organization_depths(one).await.unwrap());
    assert_eq!(own.last(), Some(&depth("default", 3, 1, 0)));
}

//! Runs and what happens to them, short to write.

use std::collections::BTreeMap;
use std::time::Duration;

use gantry_domain::attempt::Observation;
use gantry_domain::id::{ClaimId, DispatchId, KeyId, OrganizationId, RunId, WorkerId};
use gantry_domain::run::{
    Actor, AttemptReport, Claimed, Lease, LeaseToken, Run, RunState, Trigger, TriggerKind,
};
use gantry_domain::spec::{Network, Pool, Priority, Resources, RetryPolicy, RunSpec};
use gantry_domain::time::Timestamp;

use crate::{Accepted, Durability, NewRun, Stores, Transition};

/// When everything begins.
pub const T0: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Seconds after the beginning.
pub fn at(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

pub fn spec() -> RunSpec {
    RunSpec {
        project: None,
        image: Some("busybox:1.36".into()),
        command: Some(vec!["true".into()]),
        folder: None,
        environment: None,
        base_url: None,
        variables: BTreeMap::new(),
        secrets: vec![],
        group: None,
        labels: BTreeMap::new(),
        pool: Pool::default(),
        priority: Priority::Normal,
        timeout_seconds: 60,
        retries: RetryPolicy::default(),
        at_most_once: false,
        resources: Resources::default(),
        network: Network::default(),
        artifacts: vec![],
        workdir: None,
    }
}

pub fn new_run(organization: OrganizationId) -> NewRun {
    NewRun {
        id: RunId::new(),
        organization,
        spec: spec(),
        trigger: Trigger {
            kind: TriggerKind::Api,
            actor: Actor::Key(KeyId::from_u128(7)),
            rerun_of: None,
            trace: None,
        },
        created_at: T0,
        idempotency: None,
        dispatch: None,
    }
}

/// A new run, changed as `change` says.
pub fn run_with(organization: OrganizationId, change: impl FnOnce(&mut NewRun)) -> NewRun {
    let mut run = new_run(organization);
    change(&mut run);
    run
}

pub async fn accept(stores: &Stores, run: NewRun) -> Run {
    match stores.runs.accept(run).await.unwrap() {
        Accepted::Created(run) => run,
        other => panic!("not created: {other:?}"),
    }
}

pub async fn accepted(stores: &Stores, organization: OrganizationId) -> Run {
    accept(stores, new_run(organization)).await
}

/// Stores the successor, which must be possible.
pub async fn store(stores: &Stores, next: Run) -> Run {
    let stored = stores.runs.transition(&next, Durability::Relaxed).await.unwrap();
    assert_eq!(stored, Transition::Updated);
    next
}

pub async fn queued(stores: &Stores, run: &Run, now: Timestamp) -> Run {
    store(stores, run.dispatch(DispatchId::new(), vec![], now).unwrap()).await
}

/// The run as `worker` holds it until `expires_at`.
pub async fn running(stores: &Stores, run: &Run, worker: WorkerId, expires_at: Timestamp) -> Run {
    let queued = queued(stores, run, T0).await;
    let RunState::Queued { dispatch } = queued.state else { panic!("not queued") };
    let claim = ClaimId::new();
    let token = LeaseToken::from_bits(claim.as_u128());
    let lease = Lease { worker, dispatch, claim, token, expires_at, started: false };
    let Claimed::Granted(next) = queued.claim(lease, T0).unwrap() else { panic!("not granted") };
    store(stores, next).await
}

pub fn token(run: &Run) -> LeaseToken {
    run.state.lease().unwrap().token.clone()
}

/// The run after its attempt exited with `code`.
pub async fn finished(stores: &Stores, run: &Run, code: i64, now: Timestamp) -> Run {
    let running = running(stores, run, WorkerId::from_u128(1), at(45)).await;
    let observation = Observation::Exited { code, oom_killed: false };
    let (next, _) = running.finish(&token(&running), &observation, AttemptReport::default(), now).unwrap();
    store(stores, next).await
}

pub async fn find(stores: &Stores, id: RunId) -> Run {
    stores.runs.find(id).await.unwrap().expect("the run is there")
}

pub fn ids(runs: &[Run]) -> Vec<RunId> {
    runs.iter().map(|run| run.id).collect()
}

pub fn pool(name: &str) -> Pool {
    name.parse().unwrap()
}

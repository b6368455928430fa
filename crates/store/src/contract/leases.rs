use gantry_domain::id::{OrganizationId, WorkerId};
use gantry_domain::run::{Actor, LeaseToken, Run};
use gantry_domain::time::Timestamp;

use super::fixtures::*;
use crate::{LeaseRef, Renewal, Stores};

fn lease_of(run: &Run) -> LeaseRef {
    LeaseRef { run: run.id, token: token(run) }
}

fn expiry(run: &Run) -> Timestamp {
    run.state.lease().unwrap().expires_at
}

const CARRIES_ON: Renewal = Renewal::Renewed { cancel: false };

pub async fn a_renewal_moves_the_expiry_and_no_version(stores: Stores) {
    let worker = WorkerId::new();
    let run = accepted(&stores, OrganizationId::new()).await;
    let held = running(&stores, &run, worker, at(45)).await;
    let renewed = stores.runs.renew(worker, &[lease_of(&held)], at(60)).await.unwrap();
    assert_eq!(renewed, [CARRIES_ON]);
    let now = find(&stores, run.id).await;
    assert_eq!((now.version, expiry(&now)), (held.version, at(60)));
    store(&stores, now.start(&token(&now), at(1)).unwrap().unwrap()).await;
    assert_eq!(stores.runs.renew(worker, &[], at(60)).await.unwrap(), []);
}

pub async fn a_lease_that_is_over_cannot_be_renewed(stores: Stores) {
    let (worker, organization) = (WorkerId::new(), OrganizationId::new());
    let held = running(&stores, &accepted(&stores, organization).await, worker, at(45)).await;
    let lost = running(&stores, &accepted(&stores, organization).await, worker, at(45)).await;
    store(&stores, lost.lose(0, at(46)).unwrap().0).await;
    let others = running(&stores, &accepted(&stores, organization).await, WorkerId::new(), at(45)).await;
    let forged = LeaseRef { run: held.id, token: LeaseToken::from_bits(5) };
    let missing = LeaseRef { run: gantry_domain::id::RunId::new(), token: token(&held) };
    let leases = [lease_of(&lost), lease_of(&held), lease_of(&others), forged, missing];
    let renewed = stores.runs.renew(worker, &leases, at(60)).await.unwrap();
    let over = Renewal::Lost;
    assert_eq!(renewed, [over, CARRIES_ON, over, over, over]);
    assert_eq!(expiry(&find(&stores, others.id).await), at(45));
}

pub async fn a_renewal_says_that_somebody_cancelled(stores: Stores) {
    let worker = WorkerId::new();
    let held = running(&stores, &accepted(&stores, OrganizationId::new()).await, worker, at(45)).await;
    store(&stores, held.cancel(Actor::System, at(1)).unwrap().unwrap()).await;
    let renewed = stores.runs.renew(worker, &[lease_of(&held)], at(60)).await.unwrap();
    assert_eq!(renewed, [Renewal::Renewed { cancel: true }]);
}

pub async fn a_renewal_during_a_change_is_kept(stores: Stores) {
    let worker = WorkerId::new();
    let held = running(&stores, &accepted(&stores, OrganizationId::new()).await, worker, at(45)).await;
    let started = held.start(&token(&held), at(1)).unwrap().unwrap();
    stores.runs.renew(worker, &[lease_of(&held)], at(60)).await.unwrap();
    store(&stores, started).await;
    let now = find(&stores, held.id).await;
    assert_eq!((now.version, expiry(&now)), (held.version + 1, at(60)));
    let mut later = now.analyze(&token(&now), at(2)).unwrap().unwrap();
    if let gantry_domain::run::RunState::Analyzing { lease } = &mut later.state {
        lease.expires_at = at(90);
    }
    store(&stores, later).await;
    assert_eq!(expiry(&find(&stores, held.id).await), at(90));
}

pub async fn a_new_lease_does_not_inherit_the_old_expiry(stores: Stores) {
    let worker = WorkerId::new();
    let held = running(&stores, &accepted(&stores, OrganizationId::new()).await, worker, at(45)).await;
    stores.runs.renew(worker, &[lease_of(&held)], at(1000)).await.unwrap();
    let lost = store(&stores, held.lose(0, at(46)).unwrap().0).await;
    assert_eq!(stores.runs.expired(at(5000), 10).await.unwrap(), []);
    let again = running(&stores, &lost, worker, at(90)).await;
    assert_eq!(expiry(&find(&stores, again.id).await), at(90));
}

pub async fn expired_leases_come_longest_over_first(stores: Stores) {
    let organization = OrganizationId::new();
    let mut held = Vec::new();
    for seconds in [30, 10, 20, 40] {
        let run = accepted(&stores, organization).await;
        held.push(running(&stores, &run, WorkerId::new(), at(seconds)).await);
    }
    accepted(&stores, organization).await;
    assert_eq!(stores.runs.expired(at(10), 10).await.unwrap(), [], "not before its end");
    let expired = stores.runs.expired(at(35), 10).await.unwrap();
    assert_eq!(expired, [held[1].clone(), held[2].clone(), held[0].clone()]);
    assert_eq!(ids(&stores.runs.expired(at(35), 2).await.unwrap()), [held[1].id, held[2].id]);
}

pub async fn leased_runs_are_found_by_worker(stores: Stores) {
    let (organization, one, other) = (OrganizationId::new(), WorkerId::new(), WorkerId::new());
    let first = running(&stores, &accepted(&stores, organization).await, one, at(10)).await;
    let second = running(&stores, &accepted(&stores, organization).await, other, at(20)).await;
    let second = store(&stores, second.analyze(&token(&second), at(1)).unwrap().unwrap()).await;
    finished(&stores, &accepted(&stores, organization).await, 0, at(2)).await;
    queued(&stores, &accepted(&stores, organization).await, T0).await;
    assert_eq!(stores.runs.leased(Some(one), 10).await.unwrap(), std::slice::from_ref(&first));
    let mut all = ids(&stores.runs.leased(None, 10).await.unwrap());
    all.sort();
    assert_eq!(all, [first.id, second.id]);
    assert_eq!(stores.runs.leased(None, 1).await.unwrap().len(), 1);
    assert_eq!(stores.runs.leased(Some(WorkerId::new()), 10).await.unwrap(), []);
}

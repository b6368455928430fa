use std::collections::BTreeSet;

use gantry_domain::id::{DispatchId, OrganizationId};
use gantry_domain::run::{Hold, RunState};
use gantry_domain::spec::{Network, Priority, RetryOn};

use super::fixtures::*;
use crate::{Accepted, Idempotency, ListFilter, NewRun, Stores};

fn with_key(organization: OrganizationId, key: &str, body: u8) -> NewRun {
    run_with(organization, |run| {
        run.idempotency = Some(Idempotency { key: key.into(), body_hash: [body; 32] });
    })
}

pub async fn a_run_is_stored_as_accepted(stores: Stores) {
    let organization = OrganizationId::new();
    let wanted = run_with(organization, |run| {
        let spec = &mut run.spec;
        spec.project = Some("shop".into());
        spec.command = Some(vec!["sh".into(), "-c".into(), "echo \"ä\n\u{1F600}\"".into()]);
        spec.folder = Some("smoke".into());
        spec.environment = Some("staging".into());
        spec.base_url = Some("https://shop.example".into());
        spec.variables.insert("A".into(), "1".into());
        spec.secrets.push("TOKEN".into());
        spec.group = Some("nightly".into());
        spec.labels.insert("team".into(), "blue".into());
        spec.pool = pool("gpu");
        spec.priority = Priority::High;
        spec.retries.on.insert(RetryOn::Unstable);
        spec.at_most_once = true;
        spec.network = Network::None;
        spec.artifacts.push("junit.xml".into());
        spec.workdir = Some("/srv".into());
    });
    let run = accept(&stores, wanted.clone()).await;
    assert_eq!((run.id, run.organization, run.number, run.version), (wanted.id, organization, 1, 1));
    assert_eq!((&run.spec, &run.trigger, run.created_at), (&wanted.spec, &wanted.trigger, wanted.created_at));
    assert_eq!(run.state, RunState::Pending { hold: Hold::Workers });
    assert_eq!(stores.runs.get(organization, run.id).await.unwrap().as_ref(), Some(&run));
    assert_eq!(stores.runs.find(run.id).await.unwrap(), Some(run));
}

pub async fn a_run_may_be_queued_from_the_start(stores: Stores) {
    let (organization, dispatch) = (OrganizationId::new(), DispatchId::new());
    let run = accept(&stores, run_with(organization, |run| run.dispatch = Some(dispatch))).await;
    assert_eq!(
        (run.number, &run.state, run.queued_at),
        (1, &RunState::Queued { dispatch }, Some(run.created_at))
    );
    assert_eq!(stores.runs.find(run.id).await.unwrap().as_ref(), Some(&run));
    assert!(stores.dispatch.ready(&run.spec.pool, 10).await.unwrap().iter().all(|ready| ready.id != run.id));
    let unclaimed = stores.runs.unclaimed(at(1), u32::MAX).await.unwrap();
    assert!(unclaimed.iter().any(|unclaimed| unclaimed.id == run.id));
    // Its message was not taken: then it waits like any other.
    let back = store(&stores, run.take_back(dispatch, at(2)).unwrap()).await;
    let ready = stores.dispatch.ready(&run.spec.pool, 1000).await.unwrap();
    assert!(ready.contains(&back));
}

pub async fn numbers_count_up_inside_an_organization(stores: Stores) {
    let (one, other) = (OrganizationId::new(), OrganizationId::new());
    let accepts = (0..60).map(|i| {
        let stores = stores.clone();
        tokio::spawn(async move { accepted(&stores, if i % 3 == 0 { other } else { one }).await })
    });
    let mut numbers = BTreeSet::new();
    for accepted in accepts.collect::<Vec<_>>() {
        let run = accepted.await.unwrap();
        assert!(numbers.insert((run.organization, run.number)), "{} twice", run.number);
    }
    let next = accepted(&stores, one).await;
    assert!(numbers.iter().all(|(organization, number)| *organization != one || *number < next.number));
}

pub async fn fifty_parallel_accepts_with_one_key_make_one_run(stores: Stores) {
    let organization = OrganizationId::new();
    let accepts = (0..50).map(|_| {
        let stores = stores.clone();
        tokio::spawn(async move { stores.runs.accept(with_key(organization, "k", 1)).await.unwrap() })
    });
    let (mut created, mut replayed) = (Vec::new(), Vec::new());
    for accepted in accepts.collect::<Vec<_>>() {
        match accepted.await.unwrap() {
            Accepted::Created(run) => created.push(run),
            Accepted::Replayed(run) => replayed.push(run),
            Accepted::KeyReused => panic!("the body was the same"),
        }
    }
    assert_eq!((created.len(), replayed.len()), (1, 49));
    assert!(replayed.iter().all(|run| *run == created[0]));
    let page = stores.runs.list(organization, &ListFilter::default(), None, 10).await.unwrap();
    assert_eq!(page.items, created);
}

pub async fn a_key_used_with_another_body_is_refused(stores: Stores) {
    let organization = OrganizationId::new();
    accept(&stores, with_key(organization, "k", 1)).await;
    let other = with_key(organization, "k", 2);
    assert_eq!(stores.runs.accept(other.clone()).await.unwrap(), Accepted::KeyReused);
    assert_eq!(stores.runs.find(other.id).await.unwrap(), None);
}

pub async fn keys_of_two_organizations_never_meet(stores: Stores) {
    accept(&stores, with_key(OrganizationId::new(), "k", 1)).await;
    accept(&stores, with_key(OrganizationId::new(), "k", 2)).await;
}

pub async fn a_replay_shows_the_run_as_it_is_now(stores: Stores) {
    let organization = OrganizationId::new();
    let run = accept(&stores, with_key(organization, "k", 1)).await;
    let over = finished(&stores, &run, 0, at(3)).await;
    let again = stores.runs.accept(with_key(organization, "k", 1)).await.unwrap();
    assert_eq!(again, Accepted::Replayed(over));
}

pub async fn a_key_is_known_without_accepting_anything(stores: Stores) {
    let organization = OrganizationId::new();
    let key = |body| Idempotency { key: "k".into(), body_hash: [body; 32] };
    assert_eq!(stores.runs.repeated(organization, &key(1)).await.unwrap(), None);
    let run = accept(&stores, with_key(organization, "k", 1)).await;
    let known = stores.runs.repeated(organization, &key(1)).await.unwrap();
    assert_eq!(known, Some(Accepted::Replayed(run)));
    assert_eq!(stores.runs.repeated(organization, &key(2)).await.unwrap(), Some(Accepted::KeyReused));
    assert_eq!(stores.runs.repeated(OrganizationId::new(), &key(1)).await.unwrap(), None);
}

pub async fn a_forgotten_key_can_be_used_again(stores: Stores) {
    let organization = OrganizationId::new();
    let old = accept(&stores, with_key(organization, "old", 1)).await;
    let young = run_with(organization, |run| {
        run.idempotency = Some(Idempotency { key: "young".into(), body_hash: [1; 32] });
        run.created_at = at(100);
    });
    accept(&stores, young).await;
    assert_eq!(stores.runs.forget_idempotency(at(100)).await.unwrap(), 1);
    assert_eq!(stores.runs.forget_idempotency(at(100)).await.unwrap(), 0);
    let again = accept(&stores, with_key(organization, "old", 2)).await;
    assert_ne!(again.id, old.id);
    assert_eq!(find(&stores, old.id).await, old);
    assert_eq!(stores.runs.accept(with_key(organization, "young", 2)).await.unwrap(), Accepted::KeyReused);
}

/// An accept whose answer was lost may be sent again.
pub async fn the_same_id_again_is_the_same_run(stores: Stores) {
    let new = new_run(OrganizationId::new());
    let run = accept(&stores, new.clone()).await;
    assert_eq!(stores.runs.accept(new.clone()).await.unwrap(), Accepted::Replayed(run.clone()));
    let stolen = NewRun { organization: OrganizationId::new(), ..new };
    assert!(stores.runs.accept(stolen).await.is_err());
    assert_eq!(find(&stores, run.id).await, run);
}

pub async fn a_tenant_sees_only_its_own_runs(stores: Stores) {
    let (one, other) = (OrganizationId::new(), OrganizationId::new());
    let run = accepted(&stores, one).await;
    let over = finished(&stores, &accepted(&stores, one).await, 0, at(1)).await;
    assert_eq!(stores.runs.get(other, run.id).await.unwrap(), None);
    assert_eq!(stores.runs.list(other, &ListFilter::default(), None, 10).await.unwrap().items, []);
    assert_eq!(stores.runs.delete(other, over.id).await.unwrap(), crate::Deleted::NotFound);
    assert_eq!(find(&stores, over.id).await, over);
}

pub async fn an_import_keeps_runs_as_they_are(stores: Stores) {
    let organization = OrganizationId::new();
    let model = finished(&stores, &accepted(&stores, organization).await, 1, at(9)).await;
    let pending = accepted(&stores, organization).await;
    let imported: Vec<_> = (0..1500)
        .map(|i| {
            let mut run = if i % 2 == 0 { model.clone() } else { pending.clone() };
            run.id = gantry_domain::id::RunId::new();
            run.number = 10 + i;
            run
        })
        .collect();
    stores.runs.import(imported.clone()).await.unwrap();
    for run in imported.iter().step_by(97) {
        assert_eq!(find(&stores, run.id).await, *run);
    }
    assert!(stores.runs.import(vec![imported[3].clone()]).await.is_err(), "ids must be new");
    assert_eq!(accepted(&stores, organization).await.number, 1510);
    assert_eq!(stores.dispatch.depths().await.unwrap()[0].pending, 752);
    assert!(stores.dispatch.ready(&pending.spec.pool, 1000).await.unwrap().len() == 752);
}

//! Documents that cannot be read. They are made by a [`Tamperer`], which each backend brings.

use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, ProjectId, RunId, WorkerId};

use super::fixtures::*;
use super::fleet::worker;
use super::projects::{project, sealing};
use crate::{DocumentKind, ListFilter, Stores};

/// Changes stored records behind the store's back.
#[async_trait]
pub trait Tamperer: Send + Sync {
    async fn run_record(&self, id: RunId) -> String;
    async fn write_run_record(&self, id: RunId, record: &str);
    async fn write_worker_record(&self, id: WorkerId, record: &str);
    async fn write_project_record(&self, id: ProjectId, record: &str);
    /// The same data, opened by a process that was just started.
    async fn reopen(&mut self) -> Stores;
}

/// Makes a test of every behaviour. `$make` is an async function without arguments that answers fresh [`Stores`] and
/// their [`Tamperer`].
#[macro_export]
macro_rules! set_aside_contract {
    ($backend:ident, $make:path) => {
        mod $backend {
            use super::*;
            $crate::set_aside_contract! { @tests $make;
                unreadable_runs_stop_nobody, they_do_not_take_the_places_of_others, they_are_listed_once_to_their_tenant,
                a_document_of_a_newer_version_waits_for_an_upgrade, an_unreadable_worker_hides_no_other,
                an_unreadable_project_with_secrets_is_named
            }
        }
    };
    (@tests $make:path; $($behaviour:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            let (stores, tamperer) = $make().await;
            $crate::contract::set_aside::$behaviour(stores, tamperer).await;
        }
    )+};
}

const NEWER: &str = r#"{"v":7,"all":"else is different"}"#;

pub async fn unreadable_runs_stop_nobody(stores: Stores, tamperer: impl Tamperer) {
    let organization = OrganizationId::new();
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(accepted(&stores, organization).await);
    }
    let mut held = Vec::new();
    for seconds in [10, 20, 30] {
        let run = accepted(&stores, organization).await;
        held.push(running(&stores, &run, WorkerId::new(), at(seconds)).await);
    }
    tamperer.write_run_record(runs[0].id, "{\"v\":1,\"state\"").await;
    tamperer.write_run_record(runs[3].id, NEWER).await;
    tamperer.write_run_record(held[0].id, "nothing of ours").await;
    let pool = &runs[0].spec.pool;
    let readable = [runs[1].id, runs[2].id, runs[4].id];
    for _ in 0..3 {
        let mut ready = ids(&stores.dispatch.ready(pool, 10).await.unwrap());
        ready.sort();
        assert_eq!(ready, readable);
        assert_eq!(ids(&stores.runs.expired(at(99), 10).await.unwrap()), [held[1].id, held[2].id]);
        assert_eq!(stores.runs.leased(None, 10).await.unwrap().len(), 2);
        assert_eq!(stores.runs.waiting_since(at(99), 10).await.unwrap().len(), 3);
        let listed = stores.runs.list(organization, &ListFilter::default(), None, 10).await.unwrap();
        assert_eq!((listed.items.len(), listed.next), (5, None));
    }
    // Asked for by name, it says what is wrong.
    let error = stores.runs.find(runs[3].id).await.unwrap_err().to_string();
    assert!(error.contains("version 7") && error.contains("use a newer version"), "{error}");
    // Life goes on beside them.
    let next = accepted(&stores, organization).await;
    assert!(ids(&stores.dispatch.ready(pool, 10).await.unwrap()).contains(&next.id));
}

pub async fn they_do_not_take_the_places_of_others(stores: Stores, tamperer: impl Tamperer) {
    let organization = OrganizationId::new();
    let (mut waiting, mut held) = (Vec::new(), Vec::new());
    for i in 0..6 {
        let run = accepted(&stores, organization).await;
        held.push(running(&stores, &run, WorkerId::new(), at(10 + i)).await);
        waiting.push(accepted(&stores, organization).await);
    }
    for i in 0..5 {
        tamperer.write_run_record(held[i].id, NEWER).await;
        tamperer.write_run_record(waiting[i].id, NEWER).await;
    }
    assert_eq!(ids(&stores.runs.expired(at(99), 2).await.unwrap()), [held[5].id]);
    assert_eq!(ids(&stores.runs.waiting_since(at(99), 1).await.unwrap()), [waiting[5].id]);
    let pool = &waiting[0].spec.pool;
    let mut found = Vec::new();
    for _ in 0..6 {
        found = ids(&stores.dispatch.ready(pool, 1).await.unwrap());
    }
    assert_eq!(found, [waiting[5].id]);
}

pub async fn they_are_listed_once_to_their_tenant(stores: Stores, tamperer: impl Tamperer) {
    let (one, other) = (OrganizationId::new(), OrganizationId::new());
    let run = accepted(&stores, one).await;
    assert_eq!(stores.runs.set_aside(one, 10).await.unwrap(), []);
    tamperer.write_run_record(run.id, NEWER).await;
    for _ in 0..3 {
        stores.dispatch.ready(&run.spec.pool, 10).await.unwrap();
        stores.runs.list(one, &ListFilter::default(), None, 10).await.unwrap();
    }
    let listed = stores.runs.set_aside(one, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].kind, &listed[0].id), (DocumentKind::Run, &run.id.to_string()));
    assert_eq!(listed[0].organization, Some(one));
    assert!(listed[0].why.contains("version 7"), "{}", listed[0].why);
    assert!(listed[0].at > T0);
    assert_eq!(stores.runs.set_aside(other, 10).await.unwrap(), []);
}

pub async fn a_document_of_a_newer_version_waits_for_an_upgrade(stores: Stores, mut tamperer: impl Tamperer) {
    let organization = OrganizationId::new();
    let run = accepted(&stores, organization).await;
    let record = tamperer.run_record(run.id).await;
    tamperer.write_run_record(run.id, NEWER).await;
    assert_eq!(stores.dispatch.ready(&run.spec.pool, 10).await.unwrap(), []);
    assert_eq!(stores.runs.set_aside(organization, 10).await.unwrap().len(), 1);
    assert_eq!(tamperer.run_record(run.id).await, NEWER, "it is kept as it is");

    let stores = tamperer.reopen().await;
    assert_eq!(stores.runs.set_aside(organization, 10).await.unwrap().len(), 1, "not an upgrade yet");
    assert_eq!(stores.dispatch.ready(&run.spec.pool, 10).await.unwrap(), []);
    // To a newer version it is what this one is to the present.
    tamperer.write_run_record(run.id, &record).await;
    let stores = tamperer.reopen().await;
    assert_eq!(stores.runs.set_aside(organization, 10).await.unwrap(), []);
    assert_eq!(stores.dispatch.ready(&run.spec.pool, 10).await.unwrap(), [run]);
}

pub async fn an_unreadable_worker_hides_no_other(stores: Stores, tamperer: impl Tamperer) {
    let (readable, newer) = (worker("default", 1), worker("default", 2));
    for worker in [&readable, &newer] {
        stores.workers.put(worker).await.unwrap();
    }
    assert!(stores.workers.set_draining(newer.id, true).await.unwrap());
    tamperer.write_worker_record(newer.id, NEWER).await;
    for _ in 0..2 {
        assert_eq!(stores.workers.list().await.unwrap(), std::slice::from_ref(&readable));
    }
    let listed = stores.runs.set_aside(OrganizationId::new(), 10).await.unwrap();
    assert_eq!((listed.len(), listed[0].kind), (1, DocumentKind::Worker));
    // It speaks again, to this version.
    let again = stores.workers.put(&newer).await.unwrap();
    assert!(again.draining, "what it does not decide itself is kept");
    assert_eq!(stores.workers.list().await.unwrap(), [again, readable]);
}

pub async fn an_unreadable_project_with_secrets_is_named(stores: Stores, tamperer: impl Tamperer) {
    let mut projects = Vec::new();
    for name in ["one", "two", "three"] {
        let plain = project(OrganizationId::new(), name);
        stores.projects.add(&plain).await.unwrap();
        let sealed = sealing(&plain, "x");
        stores.projects.update(&sealed).await.unwrap();
        projects.push(sealed);
    }
    tamperer.write_project_record(projects[1].id, NEWER).await;
    let first = stores.projects.with_secrets(None, 2).await.unwrap();
    assert_eq!(first.items, [Ok(projects[2].clone()), Err(projects[1].id)]);
    let rest = stores.projects.with_secrets(first.next, 2).await.unwrap();
    assert_eq!((rest.items, rest.next), (vec![Ok(projects[0].clone())], None));
}

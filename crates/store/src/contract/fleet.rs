use gantry_domain::id::WorkerId;
use gantry_domain::worker::{ExecutorKind, Worker};

use super::fixtures::*;
use crate::Stores;

pub fn worker(pool_name: &str, registered: u64) -> Worker {
    Worker {
        id: WorkerId::new(),
        name: "lathe".into(),
        version: "0.1.0".into(),
        pool: pool(pool_name),
        executor: ExecutorKind::Docker,
        slots: 4,
        busy: 1,
        disk_free_bytes: Some(5),
        disk_total_bytes: None,
        draining: false,
        paused: Some("no disk".into()),
        registered_at: at(registered),
        last_seen_at: at(registered),
    }
}

pub async fn a_worker_is_stored_as_it_says(stores: Stores) {
    let mut worker = worker("default", 1);
    assert_eq!(stores.workers.get(worker.id).await.unwrap(), None);
    assert_eq!(stores.workers.put(&worker).await.unwrap(), worker);
    assert_eq!(stores.workers.get(worker.id).await.unwrap().as_ref(), Some(&worker));
    worker.busy = 3;
    worker.paused = None;
    worker.last_seen_at = at(9);
    assert_eq!(stores.workers.put(&worker).await.unwrap(), worker);
    assert_eq!(stores.workers.get(worker.id).await.unwrap(), Some(worker));
}

pub async fn draining_survives_what_a_worker_says(stores: Stores) {
    let worker = worker("default", 1);
    assert!(!stores.workers.set_draining(worker.id, true).await.unwrap());
    stores.workers.put(&worker).await.unwrap();
    assert!(stores.workers.set_draining(worker.id, true).await.unwrap());
    let again = Worker { registered_at: at(50), last_seen_at: at(50), ..worker.clone() };
    let stored = stores.workers.put(&again).await.unwrap();
    assert_eq!(stored, Worker { draining: true, last_seen_at: at(50), ..worker.clone() });
    assert_eq!(stores.workers.get(worker.id).await.unwrap(), Some(stored));
    assert!(stores.workers.set_draining(worker.id, false).await.unwrap());
    assert!(!stores.workers.get(worker.id).await.unwrap().unwrap().draining);
}

pub async fn workers_are_listed_newest_first(stores: Stores) {
    for seconds in [2, 9, 5] {
        stores.workers.put(&worker("default", seconds)).await.unwrap();
    }
    let listed = stores.workers.list().await.unwrap();
    assert_eq!(listed.iter().map(|w| w.registered_at).collect::<Vec<_>>(), [at(9), at(5), at(2)]);
}

pub async fn workers_are_forgotten(stores: Stores) {
    let workers = [worker("default", 1), worker("default", 2), worker("default", 30), worker("default", 40)];
    for worker in &workers {
        stores.workers.put(worker).await.unwrap();
    }
    assert_eq!(stores.workers.forget(Some(workers[2].id), at(2)).await.unwrap(), 2);
    assert_eq!(stores.workers.forget(None, at(2)).await.unwrap(), 0);
    assert_eq!(stores.workers.list().await.unwrap(), [workers[3].clone(), workers[1].clone()]);
}

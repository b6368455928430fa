//! What callers see while the server cannot be reached, and what came of writes whose answer was lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod mongo_server;
#[path = "mongo_server/proxy.rs"]
mod proxy;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gantry_domain::id::{ClaimId, DispatchId, OrganizationId, RunId, WorkerId};
use gantry_domain::log::{LogChunk, LogStream, Segment};
use gantry_domain::run::{Claimed, Hold, Lease, LeaseToken, Run, RunState};
use gantry_store::contract::fixtures::{T0, accepted, at, find, new_run, queued, running, token};
use gantry_store::mongo::{MongoOptions, MongoStores, connect};
use gantry_store::{
    Accepted, Acquired, Append, Durability, Idempotency, LeaseRef, Limit, ListFilter, LogKey, Renewal,
    StoreError, Stores, Transition,
};
use mongo_server::{TestDatabase, address, server};
use proxy::{Mode, Proxy};

/// Nothing takes longer than this to say that the store is unavailable.
const QUICK: Duration = Duration::from_secs(5);
const GENEROUS: Duration = Duration::from_secs(60);

struct Broken {
    stores: Stores,
    proxy: Proxy,
    mongo: MongoStores,
    _database: TestDatabase,
}

/// A store that reaches its server through a proxy.
async fn through_a_proxy() -> Broken {
    let database = TestDatabase::new();
    let server = server();
    let (scheme, rest) = server.split_once("://").unwrap();
    let hosts = rest.rsplit('@').next().unwrap().split(['/', '?']).next().unwrap();
    assert!(!hosts.contains(','), "GANTRY_TEST_MONGO must name one host for this test");
    let host = if hosts.contains(':') { hosts.to_owned() } else { format!("{hosts}:27017") };
    let proxy = Proxy::before(host).await;
    let through = address(
        &format!("{scheme}://{}", rest.replacen(hosts, &proxy.address.to_string(), 1)),
        &database.name,
    );
    let direct = if through.contains('?') { "&" } else { "?" };
    // Without this a replica set's members would be asked under their own addresses.
    let options = MongoOptions::new(format!("{through}{direct}directConnection=true"));
    let mongo =
        connect(options).await.expect("`scripts/services start mongo` starts the server that this needs");
    Broken { stores: mongo.stores(), proxy, mongo, _database: database }
}

async fn eventually<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(begun.elapsed() < GENEROUS, "not within {GENEROUS:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn unavailable<T: std::fmt::Debug>(call: impl Future<Output = Result<T, StoreError>>) {
    let begun = Instant::now();
    let outcome = call.await;
    let took = begun.elapsed();
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    // What the machine's load adds is not the store's.
    assert!(took < QUICK + Duration::from_secs(1), "it took {took:?}");
}

async fn an_outage_is_noticed_and_ends(mode: Mode) {
    let broken = through_a_proxy().await;
    let stores = &broken.stores;
    let organization = OrganizationId::new();
    let run = accepted(stores, organization).await;
    let held = running(stores, &accepted(stores, organization).await, WorkerId::new(), at(45)).await;
    for round in 0..2 {
        broken.proxy.set(mode);
        let next = run.hold(Hold::Paused).unwrap();
        let all = ListFilter::default();
        let lease = [LeaseRef { run: held.id, token: token(&held) }];
        tokio::join!(
            unavailable(stores.runs.accept(new_run(organization))),
            unavailable(stores.runs.find(run.id)),
            unavailable(stores.runs.transition(&next, Durability::Synced)),
            unavailable(stores.runs.list(organization, &all, None, 10)),
            unavailable(stores.runs.renew(WorkerId::new(), &lease, at(60))),
            unavailable(stores.dispatch.ready(&run.spec.pool, 10)),
            unavailable(stores.auth.check()),
        );
        broken.proxy.set(Mode::Open);
        eventually(async || stores.auth.check().await.ok()).await;
        let again = accepted(stores, organization).await;
        assert_eq!(find(stores, again.id).await, again, "round {round}");
    }
    broken.mongo.close().await;
    unavailable(stores.runs.accept(new_run(organization))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_are_unavailability_and_recover() {
    an_outage_is_noticed_and_ends(Mode::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_unavailability_and_recovers() {
    an_outage_is_noticed_and_ends(Mode::Silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_cut_is_not_noticed_at_all() {
    let broken = through_a_proxy().await;
    let run = accepted(&broken.stores, OrganizationId::new()).await;
    for _ in 0..5 {
        broken.proxy.set(Mode::Cut);
        broken.proxy.set(Mode::Open);
        assert_eq!(find(&broken.stores, run.id).await, run);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_server_is_named_and_the_password_is_not() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let begun = Instant::now();
    let refused = connect(MongoOptions::new(format!("mongodb://ann:s3cret@127.0.0.1:{port}/x"))).await;
    let Err(error) = refused else { panic!("connected to nothing") };
    assert!(begun.elapsed() < QUICK, "{:?}", begun.elapsed());
    let text = error.to_string();
    assert!(text.contains(&port.to_string()) && text.contains("start it"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

/// Every single write below is carried out by the server, and its answer is lost.
async fn losing(what: &'static str, times: u64) -> Broken {
    let broken = through_a_proxy().await;
    // The first accept makes counters and lanes.
    accepted(&broken.stores, OrganizationId::from_u128(1)).await;
    broken.proxy.set(Mode::LoseAnswers { what, times });
    broken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accept_whose_answer_was_lost_happens_once() {
    let broken = losing("run_", 1).await;
    let organization = OrganizationId::from_u128(1);
    let mut new = new_run(organization);
    new.idempotency = Some(Idempotency { key: "k".into(), body_hash: [1; 32] });
    let Accepted::Created(run) = broken.stores.runs.accept(new.clone()).await.unwrap() else {
        panic!("it was this very request that created the run")
    };
    assert_eq!(broken.proxy.lost(), 1);
    assert_eq!(broken.stores.runs.accept(new).await.unwrap(), Accepted::Replayed(run.clone()));
    let all = broken.stores.runs.list(organization, &ListFilter::default(), None, 10).await.unwrap();
    assert_eq!(all.items.len(), 2);
    assert_eq!(all.items[0], run);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_accepts_whose_answers_were_lost_happen_once_each() {
    let broken = losing("run_", 6).await;
    let organization = OrganizationId::from_u128(1);
    let accepts = (0..200).map(|_| accepted(&broken.stores, organization));
    let runs = futures::future::join_all(accepts).await;
    assert_eq!(broken.proxy.lost(), 6);
    let numbers: BTreeSet<_> = runs.iter().map(|run| run.number).collect();
    assert_eq!(numbers.len(), 200, "each has its own number");
    let stored =
        broken.stores.runs.list(organization, &ListFilter::default(), None, 500).await.unwrap().items;
    assert_eq!(stored.len(), 201);
    assert!(runs.iter().all(|run| stored.contains(run)), "stored as answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_answer_was_lost_is_known_to_have_happened() {
    let broken = losing("$set", 1).await;
    let run = accepted(&broken.stores, OrganizationId::from_u128(1)).await;
    let next = run.dispatch(DispatchId::new(), vec![], at(1)).unwrap();
    let outcome = broken.stores.runs.transition(&next, Durability::Relaxed).await.unwrap();
    assert_eq!((outcome, broken.proxy.lost()), (Transition::Updated, 1));
    assert_eq!(find(&broken.stores, run.id).await, next);
    let late = run.hold(Hold::Paused).unwrap();
    let conflict = broken.stores.runs.transition(&late, Durability::Relaxed).await.unwrap();
    assert_eq!(conflict, Transition::Conflict(next));
}

fn claimed(run: &Run, worker: WorkerId) -> Run {
    let RunState::Queued { dispatch } = run.state else { panic!("not queued") };
    let token = LeaseToken::from_bits(rand::random());
    let lease = Lease { worker, dispatch, claim: ClaimId::new(), token, expires_at: at(45), started: false };
    let Claimed::Granted(next) = run.claim(lease, T0).unwrap() else { panic!("not granted") };
    next
}

/// 200 workers want 40 runs, five each, while answers get lost: every run is granted to exactly the one who was told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_claims_with_lost_answers_each_run_is_granted_once() {
    let broken = losing("$nothing", 0).await;
    let stores = &broken.stores;
    let organization = OrganizationId::from_u128(1);
    let runs = futures::future::join_all((0..40).map(async |_| {
        let run = accepted(stores, organization).await;
        queued(stores, &run, at(1)).await
    }))
    .await;
    broken.proxy.set(Mode::LoseAnswers { what: "$set", times: 8 });
    let claims = (0..200).map(async |i: usize| {
        let next = claimed(&runs[i % 40], WorkerId::new());
        let outcome = stores.runs.transition(&next, Durability::Relaxed).await.unwrap();
        (outcome == Transition::Updated).then_some(next)
    });
    let granted: Vec<_> = futures::future::join_all(claims).await.into_iter().flatten().collect();
    assert!(broken.proxy.lost() > 0);
    assert_eq!(granted.len(), 40);
    for next in granted {
        assert_eq!(find(stores, next.id).await, next, "who was told so holds the lease");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_writes_whose_answers_were_lost_have_no_double_effect() {
    let broken = losing("$nothing", 0).await;
    let (stores, proxy) = (&broken.stores, &broken.proxy);
    let organization = OrganizationId::from_u128(1);
    let worker = WorkerId::new();
    let held = running(stores, &accepted(stores, organization).await, worker, at(45)).await;

    proxy.set(Mode::LoseAnswers { what: "$max", times: 1 });
    let lease = LeaseRef { run: held.id, token: token(&held) };
    let renewed = stores.runs.renew(worker, &[lease], at(60)).await.unwrap();
    assert_eq!((renewed, proxy.lost()), (vec![Renewal::Renewed { cancel: false }], 1));

    for what in ["limits", "$push"] {
        proxy.set(Mode::LoseAnswers { what, times: 1 });
        let limit = Limit { key: format!("key of {what}"), max: 1 };
        assert_eq!(
            stores.dispatch.acquire(held.id, std::slice::from_ref(&limit)).await.unwrap(),
            Acquired::All
        );
        assert_eq!(proxy.lost(), 1);
        assert_eq!(
            stores.dispatch.acquire(RunId::new(), &[limit]).await.unwrap(),
            Acquired::Full { key: format!("key of {what}") }
        );
    }
    assert_eq!(stores.dispatch.holders().await.unwrap().len(), 2);

    let log = LogKey { organization, run: held.id, attempt: 1 };
    let segment = Segment { stream: LogStream::Stdout, time: T0, length: 5 };
    let chunk = LogChunk::new(0, vec![segment], bytes::Bytes::from_static(b"hello")).unwrap();
    proxy.set(Mode::LoseAnswers { what: "insert", times: 1 });
    let appended = stores.logs.append(log, &chunk).await.unwrap();
    assert!(matches!(appended, Append::Stored { end: 5 } | Append::AlreadyThere { end: 5 }), "{appended:?}");
    assert_eq!(proxy.lost(), 1);
    assert_eq!(stores.logs.read(log, 0, 100).await.unwrap(), [chunk]);
}

//! What the store cannot read: listed to its tenant, handed out to nobody, and in nobody's way.

use axum::http::Method;
use gantry_domain::id::{ClaimId, RunId, WorkerId};
use gantry_store::{DocumentKind, SetAside};
use serde_json::json;

use crate::installation::{Installation, T0, Wish, spec};
use crate::moody_store::{INTERNAL, Mood};
use crate::worker::{FakeWorker, exited};

const PATH: &str = "/api/v1/system/set-aside";

async fn with(mood: &Mood) -> Installation {
    Installation::with(Wish { stores: Some(mood.over()), ..Wish::default() }).await
}

#[tokio::test]
async fn it_is_listed_to_its_tenant_with_the_reason() {
    let mood = Mood::default();
    let installation = with(&mood).await;
    assert_eq!(installation.get(PATH).await.expect(200).json(), json!({"items": [], "messages": 0}));
    let (run, worker) = (RunId::new(), WorkerId::new());
    let why = "a run record has version 7".to_owned();
    let organization = Some(installation.organization);
    mood.set_aside(SetAside { kind: DocumentKind::Run, id: run.to_string(), organization, why, at: T0 });
    let (why, organization) = ("nothing of ours".to_owned(), None);
    mood.set_aside(SetAside {
        kind: DocumentKind::Worker,
        id: worker.to_string(),
        organization,
        why,
        at: T0,
    });

    let of_run = json!({"kind": "run", "id": run, "why": "a run record has version 7", "at": T0});
    let of_worker = json!({"kind": "worker", "id": worker, "why": "nothing of ours", "at": T0});
    assert_eq!(
        installation.get(PATH).await.expect(200).json(),
        json!({"items": [of_run, of_worker], "messages": 0})
    );
    let stranger = installation.stranger().await;
    let theirs = installation.call_as(&stranger, Method::GET, PATH, None).await.expect(200);
    assert_eq!(
        theirs.json(),
        json!({"items": [], "messages": null}),
        "what is another tenant's, or nobody's"
    );

    installation.call_as("gantry_nobody", Method::GET, PATH, None).await.refused(401, "unauthorized");
    mood.unavailable();
    let away = installation.get(PATH).await.refused(503, "unavailable");
    assert!(!away.text().contains(INTERNAL));
}

#[tokio::test]
async fn a_run_that_cannot_be_read_is_handed_out_to_nobody_and_holds_up_nobody() {
    let mood = Mood::default();
    let installation = with(&mood).await;
    let worker = FakeWorker::register(&installation, 2).await.id;
    let id = installation.accept(spec()).await;
    installation.dispatch().await;
    let message = installation.take().await.unwrap();
    // As another producer finds it, which did not queue it itself.
    let elsewhere = installation.replica().await;
    let installation = installation.with_workers_at(&elsewhere);
    let worker = FakeWorker { installation: &installation, id: worker, protocol: None };
    mood.corrupt();
    // The worker forgets the message instead of asking for it again and again.
    let refused = worker.try_claim(id, message.dispatch, ClaimId::new()).await;
    refused.refused(409, "stale_attempt");
    // Nobody can say that its attempts are over: what is left of them stays.
    let question = json!({"worker": worker.id, "attempts": [{"run": id, "attempt": 1}]});
    let answer = worker.call(Method::POST, "/worker/v1/attempts/over", None, question).await.expect(200);
    assert_eq!(answer.json(), json!({"over": []}));
    // Read by a version that can, it is where it was.
    mood.well();
    let held = worker.claim(message).await;
    worker.finish(&held, exited(0)).await.expect(200);
}

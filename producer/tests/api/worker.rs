//! A worker as far as the producer sees one: it speaks the protocol and executes nothing.

use axum::body::Body;
use axum::http::{Method, Request};
use gantry_api_types::worker::{Claim, Grant, HeartbeatAnswer, LEASE_HEADER, PROTOCOL_HEADER};
use gantry_domain::id::{ClaimId, DispatchId, RunId, WorkerId};
use gantry_domain::run::LeaseToken;
use gantry_domain::spec::Pool;
use gantry_queue::RunMessage;
use serde_json::{Value, json};

use crate::installation::{Answer, Installation, WORKER_TOKEN, answer};

#[derive(Clone, Copy)]
pub struct FakeWorker<'a> {
    pub installation: &'a Installation,
    pub id: WorkerId,
    /// What it says of the protocol; older workers say nothing.
    pub protocol: Option<&'static str>,
}

/// A claimed run.
#[derive(Clone)]
pub struct Held {
    pub run: RunId,
    pub attempt: u32,
    pub lease: LeaseToken,
    pub log_limit: u64,
    pub message: RunMessage,
}

pub fn exited(code: i64) -> Value {
    finish(json!({"kind": "exited", "code": code, "oom_killed": false}))
}

pub fn finish(observed: Value) -> Value {
    json!({
        "observed": observed, "log_end": 0, "log_truncated": false,
        "prepare_ms": 1, "execute_ms": 2, "collect_ms": 3, "warnings": [],
    })
}

impl<'a> FakeWorker<'a> {
    pub async fn register(installation: &'a Installation, slots: u32) -> Self {
        Self::register_in(installation, &Pool::default(), slots).await
    }

    pub async fn register_in(installation: &'a Installation, pool: &Pool, slots: u32) -> Self {
        let worker = Self { installation, id: WorkerId::new(), protocol: Some("1") };
        let body = json!({
            "worker": worker.id, "name": "fake", "version": "0", "pool": pool, "executor": "fake", "slots": slots,
        });
        worker.call(Method::POST, "/worker/v1/register", None, body).await.expect(200);
        worker
    }

    /// The same worker with another version of the protocol.
    pub fn speaking(self, protocol: &'static str) -> Self {
        Self { protocol: Some(protocol), ..self }
    }

    /// The same worker as it was before versions were told.
    pub fn of_old(self) -> Self {
        Self { protocol: None, ..self }
    }

    pub async fn call(&self, method: Method, path: &str, lease: Option<&LeaseToken>, body: Value) -> Answer {
        self.send(method, path, lease, "application/json", body.to_string()).await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        lease: Option<&LeaseToken>,
        content_type: &str,
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {WORKER_TOKEN}"))
            .header("content-type", content_type);
        if let Some(lease) = lease {
            request = request.header(LEASE_HEADER, lease.as_str());
        }
        if let Some(protocol) = self.protocol {
            request = request.header(PROTOCOL_HEADER, protocol);
        }
        answer(&self.installation.worker_api, request.body(body.into()).unwrap()).await
    }

    pub async fn heartbeat(&self, busy: u32, held: &[&Held]) -> HeartbeatAnswer {
        let leases: Vec<_> = held
            .iter()
            .map(|held| json!({"run": held.run, "attempt": held.attempt, "token": held.lease}))
            .collect();
        let body = json!({
            "worker": self.id, "busy": busy, "disk_free_bytes": null, "disk_total_bytes": null, "paused": null,
            "leases": leases,
        });
        let answer = self.call(Method::POST, "/worker/v1/heartbeat", None, body).await.expect(200);
        serde_json::from_slice(&answer.bytes).unwrap()
    }

    pub async fn try_claim(&self, run: RunId, dispatch: DispatchId, claim: ClaimId) -> Answer {
        let body =
            serde_json::to_value(Claim { worker: self.id, dispatch, claim, keeps_network: true }).unwrap();
        self.call(Method::POST, &format!("/worker/v1/runs/{run}/claim"), None, body).await
    }

    /// Takes the next message and claims its run.
    pub async fn claim_next(&self) -> Option<Held> {
        let message = self.installation.take().await?;
        Some(self.claim(message).await)
    }

    pub async fn claim(&self, message: RunMessage) -> Held {
        let answer = self.try_claim(message.run, message.dispatch, ClaimId::new()).await.expect(200);
        let grant: Grant = serde_json::from_slice(&answer.bytes).unwrap();
        Held {
            run: message.run,
            attempt: grant.attempt,
            lease: grant.lease,
            log_limit: grant.log_limit_bytes,
            message,
        }
    }

    /// Accepted, dispatched and claimed.
    pub async fn running(&self, spec: Value) -> Held {
        let id = self.installation.accept(spec).await;
        self.installation.dispatch().await;
        let held = self.claim_next().await.expect("it was dispatched");
        assert_eq!(held.run, id);
        held
    }

    pub async fn state(&self, held: &Held, state: &str) -> Answer {
        let path = format!("/worker/v1/runs/{}/state", held.run);
        self.call(Method::POST, &path, Some(&held.lease), json!({"state": state})).await
    }

    pub async fn finish(&self, held: &Held, finish: Value) -> Answer {
        let path = format!("/worker/v1/runs/{}/finish", held.run);
        self.call(Method::POST, &path, Some(&held.lease), finish).await
    }

    pub async fn log(&self, held: &Held, batch: impl Into<Body>) -> Answer {
        let path = format!("/worker/v1/runs/{}/logs", held.run);
        self.send(Method::POST, &path, Some(&held.lease), "application/octet-stream", batch).await
    }

    pub async fn upload(&self, held: &Held, tar: Vec<u8>) -> Answer {
        let path = format!("/worker/v1/runs/{}/artifacts", held.run);
        self.send(Method::PUT, &path, Some(&held.lease), "application/x-tar", tar).await
    }
}

/// A tar with one file.
pub fn tar_of(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, bytes).unwrap();
    builder.into_inner().unwrap()
}

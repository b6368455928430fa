//! A client of a peer's front: the calls of `bench/peers/README.md`, or Restate's own.

use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use crate::work::Client;

/// A page of results that were asked for too early is asked for again after this.
const AGAIN: Duration = Duration::from_millis(5);

/// Connections to one HTTP server, kept alive.
pub struct Http {
    client: HttpClient<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Http {
    pub fn new(port: u16) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = HttpClient::builder(TokioExecutor::new()).build(connector);
        Self { client, base: format!("http://127.0.0.1:{port}") }
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: String,
    ) -> anyhow::Result<Bytes> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = self.client.request(request.body(Full::from(body))?).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

/// A client of one of our fronts.
pub struct Front(pub Http);

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

#[derive(Deserialize)]
struct Stored {
    result: String,
}

#[derive(Deserialize)]
struct Done {
    done: usize,
}

impl Client for Front {
    type Job = String;

    async fn submit(&self) -> anyhow::Result<String> {
        let answer = self.0.call(Method::POST, "/jobs", None, String::new()).await?;
        Ok(serde_json::from_slice::<Accepted>(&answer)?.id)
    }

    async fn result(&self, job: &String) -> anyhow::Result<()> {
        let answer = self.0.call(Method::GET, &format!("/jobs/{job}"), None, String::new()).await?;
        let stored: Stored = serde_json::from_slice(&answer)?;
        ensure!(stored.result == "done", "{job} gave {:?}", stored.result);
        Ok(())
    }

    async fn results(&self, jobs: &[String]) -> anyhow::Result<()> {
        for page in jobs.chunks(100) {
            let body = serde_json::to_string(page)?;
            while serde_json::from_slice::<Done>(
                &self.0.call(Method::POST, "/results", None, body.clone()).await?,
            )?
            .done
                < page.len()
            {
                tokio::time::sleep(AGAIN).await;
            }
        }
        Ok(())
    }
}

/// A client of Restate's ingress. Its results are kept for invocations with an idempotency key, and read one by one.
pub struct Restate(pub Http);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    invocation_id: String,
}

impl Client for Restate {
    type Job = String;

    async fn submit(&self) -> anyhow::Result<String> {
        let key = format!("{:x}", rand::random::<u128>());
        let answer = self.0.call(Method::POST, "/jobs/noop/send", Some(&key), String::new()).await?;
        Ok(serde_json::from_slice::<Sent>(&answer)?.invocation_id)
    }

    async fn result(&self, job: &String) -> anyhow::Result<()> {
        let path = format!("/restate/invocation/{job}/attach");
        let answer = self.0.call(Method::GET, &path, None, String::new()).await?;
        ensure!(answer == "\"done\"", "{job} gave {answer:?}");
        Ok(())
    }

    async fn results(&self, jobs: &[String]) -> anyhow::Result<()> {
        for page in jobs.chunks(32) {
            futures::future::try_join_all(page.iter().map(|job| self.result(job))).await?;
        }
        Ok(())
    }
}

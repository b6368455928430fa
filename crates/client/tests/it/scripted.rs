//! A server that plays a script: one answer per request, in order, and a record of what was asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt as _;
use gantry_client::{Body, Transport};
use http::{Request, Response};
use http_body_util::BodyExt as _;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub line: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

#[derive(Clone, Default)]
pub struct Script {
    answers: Arc<Mutex<VecDeque<Response<Body>>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Script {
    pub fn answer(&self, status: u16, kind: &str, body: impl Into<Bytes>) -> &Self {
        let answer = Response::builder().status(status).header("content-type", kind);
        self.answers.lock().unwrap().push_back(answer.body(Body::full(body.into())).unwrap());
        self
    }

    pub fn json(&self, body: &impl serde::Serialize) -> &Self {
        self.answer(200, "application/json", serde_json::to_vec(body).unwrap())
    }

    pub fn events(&self, text: &str) -> &Self {
        self.answer(200, "text/event-stream", text.to_owned())
    }

    /// Events, and then nothing, on a connection that stays open.
    #[allow(dead_code)]
    pub fn events_then_silence(&self, text: &str) -> &Self {
        let first = futures::stream::iter([Ok::<_, Infallible>(Bytes::from(text.to_owned()))]);
        let body = Body::stream(first.chain(futures::stream::pending()));
        let answer = Response::builder().header("content-type", "text/event-stream");
        self.answers.lock().unwrap().push_back(answer.body(body).unwrap());
        self
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn transport(&self) -> Transport {
        let script = self.clone();
        Transport::in_process(tower::service_fn(move |request| script.clone().play(request)))
    }

    pub async fn play<B>(self, request: Request<B>) -> Result<Response<Body>, Infallible>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: std::fmt::Debug,
    {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let line = format!("{} {}", head.method, head.uri);
        self.asked.lock().unwrap().push(Asked { line, headers: head.headers, body });
        let answer = self.answers.lock().unwrap().pop_front();
        Ok(answer.unwrap_or_else(|| Response::builder().status(503).body(Body::empty()).unwrap()))
    }
}

//! The HTTP client of the exporter, and what is said when the collector does not take what it brings.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry::Value;
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Handle;

const CONNECT: Duration = Duration::from_secs(2);
const CALL: Duration = Duration::from_secs(4);
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Sends on the runtime it was made in, for a thread that has none.
pub(super) struct CollectorClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
}

impl fmt::Debug for CollectorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CollectorClient")
    }
}

impl CollectorClient {
    pub fn new() -> Result<Self, String> {
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { client, runtime })
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let call = async move {
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            let bytes = Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes();
            Ok(Response::from_parts(head, bytes))
        };
        // Timers, too, belong to the runtime.
        self.runtime.spawn(async { tokio::time::timeout(CALL, call).await }).await??
    }
}

/// How often a collector that stays down is complained about.
const COMPLAIN_EVERY: Duration = Duration::from_secs(300);

/// Counts what is sent, and says once in a while that nothing arrives.
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    endpoint: String,
    complained_at: Mutex<Option<Instant>>,
}

impl<E> Watched<E> {
    pub fn new(exporter: E, endpoint: String) -> Self {
        Self { exporter, endpoint, complained_at: Mutex::new(None) }
    }

    fn note(&self, spans: u64, result: &OTelSdkResult) {
        let label = if result.is_ok() { "sent" } else { "lost" };
        metrics::counter!("gantry_otlp_spans_total", "result" => label).increment(spans);
        let mut complained_at = self.complained_at.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) if complained_at.take().is_some() => {
                tracing::info!(endpoint = self.endpoint, "the collector takes spans again");
            }
            Ok(()) => {}
            Err(error) if complained_at.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) => {
                *complained_at = Some(Instant::now());
                tracing::warn!(endpoint = self.endpoint, %error, "the collector takes no spans: they are lost");
            }
            Err(_) => {}
        }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(speak_conventionally);
        let spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        self.note(spans, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Kind, name and status as the semantic conventions want them, from what a span carries for our logs anyway.
fn speak_conventionally(span: &mut SpanData) {
    let text = |key: &str| {
        let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
        found.map(|attribute| attribute.value.as_str().into_owned())
    };
    let (method, route) = (text("http.request.method"), text("http.route"));
    let operation = text("messaging.operation.type");
    let error = text("error.type");
    if let (Some(method), Some(route)) = (method, route) {
        span.span_kind = SpanKind::Server;
        span.name = format!("{method} {route}").into();
    }
    match operation.as_deref() {
        Some("send") => span.span_kind = SpanKind::Producer,
        Some("process") => span.span_kind = SpanKind::Consumer,
        _ => {}
    }
    if let Some(error) = error {
        span.status = Status::error(error);
    }
    // What was never recorded says nothing.
    span.attributes
        .retain(|attribute| !matches!(&attribute.value, Value::String(text) if text.as_str().is_empty()));
}

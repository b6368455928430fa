//! The worker protocol, call by call. Every call may be repeated.

use bytes::Bytes;
use futures::Stream;
use gantry_api_types::log::{LOG_BATCH, encode_batch};
use gantry_api_types::worker::{
    ArtifactsAnswer, Claim, Finish, Finished, Grant, Heartbeat, HeartbeatAnswer, LEASE_HEADER, Leave,
    LogAnswer, OverAnswer, OverQuestion, PROTOCOL, PROTOCOL_HEADER, Register, Registered, ReportedState,
    StateAnswer, StateReport, Welcome,
};
use gantry_domain::id::{RunId, WorkerId};
use gantry_domain::log::LogChunk;
use gantry_domain::run::LeaseToken;
use http::{HeaderName, HeaderValue, Method};

use crate::call::{Call, Caller};
use crate::error::ClientError;
use crate::transport::{Body, BoxError, Transport};

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static(PROTOCOL_HEADER);
const LEASE: HeaderName = HeaderName::from_static(LEASE_HEADER);

/// Calls of the worker protocol with a worker token. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WorkerClient {
    caller: Caller,
}

impl WorkerClient {
    pub fn new(transport: Transport, worker_token: &str) -> Self {
        Self { caller: Caller::new(transport, worker_token) }
    }

    /// Whose producer answers.
    pub async fn hello(&self) -> Result<Welcome, ClientError> {
        self.call(Method::GET, "/worker/v1/hello").answer().await
    }

    pub async fn register(&self, register: &Register) -> Result<Registered, ClientError> {
        self.call(Method::POST, "/worker/v1/register").json(register).answer().await
    }

    /// Renews the worker's leases; the answer carries signals for them.
    pub async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, ClientError> {
        self.call(Method::POST, "/worker/v1/heartbeat").json(heartbeat).answer().await
    }

    /// The worker is gone for good, and holds nothing.
    pub async fn leave(&self, worker: WorkerId) -> Result<(), ClientError> {
        self.call(Method::POST, "/worker/v1/leave").json(&Leave { worker }).done().await
    }

    /// Which of these attempts have nothing left to do.
    pub async fn over(&self, question: &OverQuestion) -> Result<OverAnswer, ClientError> {
        self.call(Method::POST, "/worker/v1/attempts/over").json(question).answer().await
    }

    /// Takes the run of a message; stale or gone means: acknowledge and forget.
    pub async fn claim(&self, run: RunId, claim: &Claim) -> Result<Grant, ClientError> {
        self.call(Method::POST, &path(run, "claim")).json(claim).answer().await
    }

    /// `Starting` must be answered before the command starts.
    pub async fn state(
        &self,
        run: RunId,
        lease: &LeaseToken,
        state: ReportedState,
    ) -> Result<StateAnswer, ClientError> {
        self.leased(Method::POST, run, "state", lease).json(&StateReport { state }).answer().await
    }

    /// Appends to the attempt's log; the same chunk again changes nothing.
    pub async fn append_logs(
        &self,
        run: RunId,
        lease: &LeaseToken,
        chunk: &LogChunk,
    ) -> Result<LogAnswer, ClientError> {
        self.leased(Method::POST, run, "logs", lease)
            .body(HeaderValue::from_static(LOG_BATCH), Body::full(encode_batch(chunk)))
            .answer()
            .await
    }

    /// Hands over what was collected, as one tar. It takes as long as it takes: the caller sets the bound.
    pub async fn put_artifacts<E: Into<BoxError> + 'static>(
        &self,
        run: RunId,
        lease: &LeaseToken,
        tar: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Result<ArtifactsAnswer, ClientError> {
        self.leased(Method::PUT, run, "artifacts", lease)
            .body(HeaderValue::from_static("application/x-tar"), Body::stream(tar))
            .without_timeout()
            .answer()
            .await
    }

    /// Ends the attempt; the answer says where the run stands now.
    pub async fn finish(
        &self,
        run: RunId,
        lease: &LeaseToken,
        finish: &Finish,
    ) -> Result<Finished, ClientError> {
        self.leased(Method::POST, run, "finish", lease).json(finish).answer().await
    }

    fn leased(&self, method: Method, run: RunId, verb: &str, lease: &LeaseToken) -> Call<'_> {
        self.call(method, &path(run, verb)).header(LEASE, lease.as_str())
    }

    fn call(&self, method: Method, path: &str) -> Call<'_> {
        self.caller.call(method, path).header(PROTOCOL_VERSION, &PROTOCOL.to_string())
    }
}

fn path(run: RunId, verb: &str) -> String {
    format!("/worker/v1/runs/{run}/{verb}")
}

//! The worker's view of the producer: the calls of the worker protocol, with errors sorted by what a worker does about
//! them.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use gantry_api_types::problem::ProblemCode;
use gantry_api_types::worker::{
    ArtifactsAnswer, Claim, Finish, Finished, Grant, Heartbeat, HeartbeatAnswer, LogAnswer, OverAnswer,
    OverQuestion, Register, Registered, ReportedState, StateAnswer,
};
use gantry_client::{ClientError, WorkerClient};
use gantry_domain::id::{RunId, WorkerId};
use gantry_domain::log::LogChunk;
use gantry_domain::run::LeaseToken;
use gantry_executor::TarStream;

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// The attempt is over: stop, clean up, forget.
    #[error("the attempt is over")]
    Stale,
    /// Unreachable or overloaded: the same call may succeed later, and may have been carried out unless it was refused
    /// outright.
    #[error("{detail}")]
    Retry { detail: String, after: Option<Duration>, outright: bool },
    /// The log ends elsewhere: at `end`, when the producer says so.
    #[error("the log does not continue there")]
    LogOffset { end: Option<u64> },
    /// The same call will never succeed.
    #[error("{0}")]
    Refused(String),
}

impl ProducerError {
    pub fn retry(detail: impl Into<String>) -> Self {
        Self::Retry { detail: detail.into(), after: None, outright: false }
    }
}

/// The worker protocol. Every call may be repeated; dropping a call leaves open whether it was carried out.
#[async_trait]
pub trait Producer: Send + Sync + 'static {
    async fn register(&self, register: &Register) -> Result<Registered, ProducerError>;

    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, ProducerError>;

    async fn leave(&self, worker: WorkerId) -> Result<(), ProducerError>;

    async fn over(&self, question: &OverQuestion) -> Result<OverAnswer, ProducerError>;

    async fn claim(&self, run: RunId, claim: &Claim) -> Result<Grant, ProducerError>;

    async fn state(
        &self,
        run: RunId,
        lease: &LeaseToken,
        state: ReportedState,
    ) -> Result<StateAnswer, ProducerError>;

    async fn append_logs(
        &self,
        run: RunId,
        lease: &LeaseToken,
        chunk: &LogChunk,
    ) -> Result<LogAnswer, ProducerError>;

    /// Takes as long as it takes: the caller sets the bound.
    async fn put_artifacts(
        &self,
        run: RunId,
        lease: &LeaseToken,
        tar: TarStream,
    ) -> Result<ArtifactsAnswer, ProducerError>;

    async fn finish(
        &self,
        run: RunId,
        lease: &LeaseToken,
        finish: &Finish,
    ) -> Result<Finished, ProducerError>;
}

/// A call that must be answered in time; too late counts as [`ProducerError::Retry`].
pub(crate) async fn within<T>(
    bound: Duration,
    call: impl Future<Output = Result<T, ProducerError>>,
) -> Result<T, ProducerError> {
    match tokio::time::timeout(bound, call).await {
        Ok(answer) => answer,
        Err(_) => Err(ProducerError::retry(format!("no answer within {} s", bound.as_secs_f64()))),
    }
}

impl From<ClientError> for ProducerError {
    fn from(error: ClientError) -> Self {
        match error.code() {
            Some(ProblemCode::StaleAttempt) => Self::Stale,
            Some(ProblemCode::LogOffset) => Self::LogOffset { end: None },
            // A full disk at the producer's is somebody's work to free, not the run's end.
            Some(ProblemCode::StorageFull) => {
                Self::Retry { detail: error.to_string(), after: error.retry_after(), outright: false }
            }
            Some(ProblemCode::UnsupportedProtocol) => {
                Self::Retry { detail: error.to_string(), after: error.retry_after(), outright: true }
            }
            _ if error.is_retryable() => {
                Self::Retry { detail: error.to_string(), after: error.retry_after(), outright: false }
            }
            _ => Self::Refused(error.to_string()),
        }
    }
}

#[async_trait]
impl Producer for WorkerClient {
    async fn register(&self, register: &Register) -> Result<Registered, ProducerError> {
        Ok(self.register(register).await?)
    }

    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, ProducerError> {
        Ok(self.heartbeat(heartbeat).await?)
    }

    async fn leave(&self, worker: WorkerId) -> Result<(), ProducerError> {
        Ok(self.leave(worker).await?)
    }

    async fn over(&self, question: &OverQuestion) -> Result<OverAnswer, ProducerError> {
        Ok(self.over(question).await?)
    }

    /// A run that is gone is as over as a stale one.
    async fn claim(&self, run: RunId, claim: &Claim) -> Result<Grant, ProducerError> {
        self.claim(run, claim).await.map_err(|error| match error.is_not_found() {
            true => ProducerError::Stale,
            false => error.into(),
        })
    }

    async fn state(
        &self,
        run: RunId,
        lease: &LeaseToken,
        state: ReportedState,
    ) -> Result<StateAnswer, ProducerError> {
        Ok(self.state(run, lease, state).await?)
    }

    async fn append_logs(
        &self,
        run: RunId,
        lease: &LeaseToken,
        chunk: &LogChunk,
    ) -> Result<LogAnswer, ProducerError> {
        Ok(self.append_logs(run, lease, chunk).await?)
    }

    async fn put_artifacts(
        &self,
        run: RunId,
        lease: &LeaseToken,
        tar: TarStream,
    ) -> Result<ArtifactsAnswer, ProducerError> {
        Ok(self.put_artifacts(run, lease, tar).await?)
    }

    async fn finish(
        &self,
        run: RunId,
        lease: &LeaseToken,
        finish: &Finish,
    ) -> Result<Finished, ProducerError> {
        Ok(self.finish(run, lease, finish).await?)
    }
}

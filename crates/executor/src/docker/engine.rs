//! The connection: every call to the engine is bounded in time, and every failure has one shape.

use std::future::Future;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{SystemInfo, SystemVersion};
use bollard::{API_DEFAULT_VERSION, Docker};

use super::options::{DEFAULT_HOST, EngineLimits};
use crate::ExecutorError;

/// bollard's own limit covers only the head of an answer; ours, around every call, are shorter.
const BACKSTOP_SECONDS: u64 = 24 * 3600;

/// Why the engine did not do what it was asked.
#[derive(Debug, Clone)]
pub(super) struct EngineFailure {
    /// What was asked, in words that follow "could not".
    pub what: &'static str,
    /// HTTP status, when the engine answered at all.
    pub status: Option<u16>,
    pub message: String,
}

impl EngineFailure {
    pub fn new(what: &'static str, error: Error) -> Self {
        let (status, message) = match error {
            Error::DockerResponseServerError { status_code, message } => {
                (Some(status_code), message.trim().to_owned())
            }
            Error::DockerStreamError { error } => (None, error.trim().to_owned()),
            other => (None, with_causes(&other)),
        };
        Self { what, status, message }
    }

    pub fn is(&self, status: u16) -> bool {
        self.status == Some(status)
    }

    pub fn infrastructure(self) -> ExecutorError {
        ExecutorError::Infrastructure(match self.status {
            Some(status) => {
                format!("the Docker engine could not {}: {} (HTTP {status})", self.what, self.message)
            }
            None => format!("the Docker engine could not {}: {}", self.what, self.message),
        })
    }
}

/// An error with what caused it: hyper's own text says only "client error (Connect)".
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// One engine and what it told about itself when we connected.
#[derive(Clone)]
pub(super) struct Engine {
    pub docker: Docker,
    pub host: String,
    pub limits: EngineLimits,
    pub cpus: u32,
    /// Where the engine keeps its data; a path of its own host.
    pub root_dir: Option<std::path::PathBuf>,
}

impl Engine {
    pub async fn connect(host: &str, limits: EngineLimits) -> Result<Self, ExecutorError> {
        let docker = client(host)?;
        let absent = |failure: EngineFailure| {
            ExecutorError::Infrastructure(format!("no Docker engine answers at {host}: {}", failure.message))
        };
        let docker = bounded("tell its version", limits.lookup, Box::pin(docker.negotiate_version()))
            .await
            .map_err(absent)?;
        let info: SystemInfo = bounded("describe itself", limits.lookup, Box::pin(docker.info()))
            .await
            .map_err(EngineFailure::infrastructure)?;
        if info.os_type.as_deref().is_some_and(|os| os != "linux") {
            return Err(ExecutorError::Unsupported(format!(
                "the Docker engine at {host} runs Windows containers; Gantry needs Linux containers"
            )));
        }
        let cpus = info.ncpu.and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0).unwrap_or(1);
        let root_dir = info.docker_root_dir.map(Into::into);
        Ok(Self { docker, host: host.to_owned(), limits, cpus, root_dir })
    }

    /// A call that only looks something up.
    pub async fn lookup<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineFailure> {
        bounded(what, self.limits.lookup, call).await
    }

    /// A call that makes or starts something.
    pub async fn create<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineFailure> {
        bounded(what, self.limits.create, call).await
    }

    pub async fn describe(&self) -> Result<String, ExecutorError> {
        let version: SystemVersion = self
            .lookup("tell its version", self.docker.version())
            .await
            .map_err(EngineFailure::infrastructure)?;
        let text = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
        Ok(format!(
            "Docker engine {} (API {}, {}/{}) at {}",
            text(version.version),
            text(version.api_version),
            text(version.os),
            text(version.arch),
            self.host
        ))
    }
}

/// Ends a call that takes longer than `limit`.
pub(super) async fn bounded<T>(
    what: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, EngineFailure> {
    match tokio::time::timeout(limit, call).await {
        Ok(outcome) => outcome.map_err(|error| EngineFailure::new(what, error)),
        Err(_) => Err(EngineFailure {
            what,
            status: None,
            message: format!("no answer within {:.1} s", limit.as_secs_f64()),
        }),
    }
}

fn client(host: &str) -> Result<Docker, ExecutorError> {
    let host = if host.trim().is_empty() { DEFAULT_HOST } else { host.trim() };
    let connected = if host.starts_with("unix://") {
        Docker::connect_with_unix(host, BACKSTOP_SECONDS, API_DEFAULT_VERSION)
    } else if host.starts_with("tcp://") || host.starts_with("http://") {
        Docker::connect_with_http(host, BACKSTOP_SECONDS, API_DEFAULT_VERSION)
    } else {
        return Err(ExecutorError::Unsupported(format!(
            "{host} is no engine address: use unix:///path or tcp://host:port"
        )));
    };
    connected.map_err(|error| {
        ExecutorError::Infrastructure(format!("no Docker engine at {host}: {}", with_causes(&error)))
    })
}

//! Whether the engine keeps runs from what is near: the worker API, the broker, metadata services, each other. What an
//! executor can decide about a container does not: it is the engine's network that traffic leaves from.

use super::engine::{Engine, EngineFailure};
use crate::ExecutorError;

/// The label of an engine that filters what its containers may reach, as `gantry-dind` does. An engine that promises
/// something else carries another version of it.
pub const FILTERED_EGRESS: &str = "io.gantry.egress=filtered-v1";

/// Fails unless the engine that answers now is one that filters.
pub(super) async fn verify(engine: &Engine) -> Result<(), ExecutorError> {
    let asking = Box::pin(engine.docker.info());
    let info = engine.lookup("describe itself", asking).await.map_err(EngineFailure::infrastructure)?;
    if info.labels.is_some_and(|labels| labels.iter().any(|label| label == FILTERED_EGRESS)) {
        return Ok(());
    }
    Err(ExecutorError::Infrastructure(format!(
        "the Docker engine at {} does not say that it filters what runs can reach (label {FILTERED_EGRESS}): \
         use gantry-dind, or set allow_unverified_egress",
        engine.host
    )))
}

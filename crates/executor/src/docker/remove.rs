//! Leaving nothing behind: removing an attempt's container at any moment, and finding those that others left.

use std::time::Duration;

use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use tokio::time::Instant;

use super::engine::{EngineFailure, bounded};
use super::{DockerExecutor, labels};
use crate::{AttemptKey, ExecutorError};

/// Between two looks at a removal that is already going on.
const POLL: Duration = Duration::from_millis(100);

impl DockerExecutor {
    pub(super) async fn remove_attempt(&self, key: AttemptKey) -> Result<(), ExecutorError> {
        let limit = self.options.limits.destroy;
        match tokio::time::timeout(limit, self.remove_until_gone(key)).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                return Err(ExecutorError::Infrastructure(format!(
                    "the container {} was not removed within {} s",
                    labels::container_name(key),
                    limit.as_secs_f64()
                )));
            }
        }
        self.attempts.forget(key);
        Ok(())
    }

    async fn remove_until_gone(&self, key: AttemptKey) -> Result<(), ExecutorError> {
        if let Some(attempt) = self.attempts.get(key) {
            if let Some(output) = &attempt.output {
                output.cut();
            }
            if let Some(creation) = attempt.creation {
                // Only that it is over matters: then the container is there or never will be.
                let _ = creation.await;
            }
        }
        let name = labels::container_name(key);
        let deadline = Instant::now() + self.options.limits.destroy;
        loop {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            let call = Box::pin(self.engine.docker.remove_container(&name, Some(options)));
            let failure = match bounded("remove the container", self.options.limits.destroy, call).await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.is(404) => return Ok(()),
                Err(failure) => failure,
            };
            // 409: somebody removes it already. 500: busy mounts, as a rule; they pass.
            let passes = failure.is(409) || failure.status.is_some_and(|status| status >= 500);
            if !passes || Instant::now() + POLL >= deadline {
                return Err(failure.infrastructure());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) async fn list_leftovers(&self) -> Result<Vec<AttemptKey>, ExecutorError> {
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&labels::installation_filter(self.options.owner))
            .build();
        let call = Box::pin(self.engine.docker.list_containers(Some(options)));
        let containers =
            self.engine.lookup("list containers", call).await.map_err(EngineFailure::infrastructure)?;
        let mut keys: Vec<AttemptKey> = containers
            .iter()
            .filter_map(|container| labels::attempt_of(container.labels.as_ref()?))
            .collect();
        keys.sort_by_key(|key| (key.run, key.attempt));
        keys.dedup();
        Ok(keys)
    }
}

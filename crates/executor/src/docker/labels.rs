//! The names and labels by which Gantry finds its own again, after any crash.

use std::collections::HashMap;

use crate::{AttemptKey, AttemptSpec, Owner};

pub(super) const INSTALLATION: &str = "gantry.installation";
pub(super) const WORKER: &str = "gantry.worker";
pub(super) const ORGANIZATION: &str = "gantry.organization";
pub(super) const RUN: &str = "gantry.run";
pub(super) const ATTEMPT: &str = "gantry.attempt";
pub(super) const TRACE: &str = "gantry.trace";
pub(super) const SLOT: &str = "gantry.slot";

/// The container of an attempt, the same for everybody who knows the key.
pub(super) fn container_name(key: AttemptKey) -> String {
    format!("gantry-{}-{}", key.run, key.attempt).to_ascii_lowercase()
}

pub(super) fn of_attempt(owner: Owner, spec: &AttemptSpec) -> HashMap<String, String> {
    let mut labels = HashMap::from([
        (INSTALLATION.to_owned(), owner.installation.to_string()),
        (WORKER.to_owned(), owner.worker.to_string()),
        (ORGANIZATION.to_owned(), spec.organization.to_string()),
        (RUN.to_owned(), spec.key.run.to_string()),
        (ATTEMPT.to_owned(), spec.key.attempt.to_string()),
    ]);
    labels.extend(spec.trace_id.iter().map(|id| (TRACE.to_owned(), id.clone())));
    labels
}

pub(super) fn of_network(owner: Owner, slot: u32) -> HashMap<String, String> {
    HashMap::from([
        (INSTALLATION.to_owned(), owner.installation.to_string()),
        (WORKER.to_owned(), owner.worker.to_string()),
        (SLOT.to_owned(), slot.to_string()),
    ])
}

/// Selects what this installation made, whichever worker of it.
pub(super) fn installation_filter(owner: Owner) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{INSTALLATION}={}", owner.installation)])])
}

/// The attempt a container's labels name.
pub(super) fn attempt_of(labels: &HashMap<String, String>) -> Option<AttemptKey> {
    Some(AttemptKey { run: labels.get(RUN)?.parse().ok()?, attempt: labels.get(ATTEMPT)?.parse().ok()? })
}

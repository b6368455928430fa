//! Runs as this replica left them, so that neither the worker's next report nor those who watch need to read them again. A
//! report ends in a compare-and-set on the version, and who watches asks for the version he was told of: what another replica
//! changed meanwhile is noticed either way, and read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gantry_domain::id::RunId;
use gantry_domain::run::{Run, RunStatus};

/// Runs in each of the two generations: more than are queued and running at a time.
const GENERATION: usize = 1024;

/// A bounded memory of runs that changed lately. When the younger generation is full, the older one is forgotten.
#[derive(Default)]
pub struct Recent(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    younger: HashMap<RunId, Run>,
    older: HashMap<RunId, Run>,
}

impl Recent {
    /// The run as it was when this replica last changed it.
    pub fn get(&self, id: RunId) -> Option<Run> {
        let generations = self.generations();
        generations.younger.get(&id).or_else(|| generations.older.get(&id)).cloned()
    }

    /// The run as it was at this version or a later one.
    pub fn at_least(&self, id: RunId, version: u64) -> Option<Run> {
        self.get(id).filter(|run| run.version >= version)
    }

    /// Notes a change; one that was overtaken by a later change is not worth keeping.
    pub fn changed(&self, run: &Run) {
        let mut generations = self.generations();
        let known = generations.younger.get(&run.id).or_else(|| generations.older.get(&run.id));
        if known.is_some_and(|known| known.version > run.version) {
            return;
        }
        generations.older.remove(&run.id);
        // Crowds may wait, and nobody reports on them.
        if run.status() == RunStatus::Pending {
            generations.younger.remove(&run.id);
            return;
        }
        generations.younger.insert(run.id, run.clone());
        if generations.younger.len() >= GENERATION {
            generations.older = std::mem::take(&mut generations.younger);
        }
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use gantry_domain::id::{DispatchId, OrganizationId};
    use gantry_domain::run::{Actor, RunState, Trigger, TriggerKind};
    use gantry_domain::time::Timestamp;

    use super::*;

    fn queued(n: u128) -> Run {
        let spec =
            serde_json::from_str::<gantry_api_types::request::CreateRun>(r#"{"image": "i:1"}"#).unwrap();
        let (id, organization) = (RunId::from_u128(n), OrganizationId::from_u128(1));
        let trigger = Trigger { kind: TriggerKind::Api, actor: Actor::System, rerun_of: None, trace: None };
        let accepted = Run::accepted(id, organization, spec.into_spec().unwrap(), trigger, Timestamp::EPOCH);
        Run { number: 1, state: RunState::Queued { dispatch: DispatchId::from_u128(1) }, ..accepted }
    }

    #[test]
    fn the_last_change_is_remembered_whatever_the_order_they_come_in() {
        let (recent, id) = (Recent::default(), RunId::from_u128(1));
        recent.changed(&queued(1));
        recent.changed(&Run { version: 3, ..queued(1) });
        recent.changed(&Run { version: 2, ..queued(1) });
        assert_eq!(recent.get(id).map(|run| run.version), Some(3));
        assert_eq!(recent.at_least(id, 3).map(|run| run.version), Some(3));
        assert_eq!(recent.at_least(id, 4), None, "another replica changed it");
    }

    #[test]
    fn only_so_many_are_remembered_and_a_change_is_never_hidden_by_an_older_one() {
        let recent = Recent::default();
        (0..GENERATION as u128).for_each(|n| recent.changed(&queued(n)));
        recent.changed(&Run { version: 2, ..queued(0) });
        assert_eq!(recent.get(RunId::from_u128(0)).map(|run| run.version), Some(2));
        (10_000..10_000 + 2 * GENERATION as u128).for_each(|n| recent.changed(&queued(n)));
        assert_eq!(recent.get(RunId::from_u128(1)), None);
        let generations = recent.generations();
        assert!(generations.younger.len() + generations.older.len() <= 2 * GENERATION);
    }
}

//! Changes of runs: each a compare-and-set on the version, many in one command. The server only says how many found
//! their run; which ones, the operation id that each leaves behind tells.

use std::collections::{BTreeMap, BTreeSet};

use gantry_domain::run::Run;
use mongodb::bson::{Document, doc};

use super::calls::{Call, Statement};
use super::document::{change, integer, knows_operation, text};
use super::errors::Fault;
use super::options::{relaxed, synced};
use super::{Core, names};
use crate::{Durability, Result};

/// Together they must fit into one command.
const COMMAND_BYTES: usize = 8 * 1024 * 1024;

/// A change on its way.
pub(super) struct Change {
    id: String,
    operation: i64,
    synced: bool,
    size: usize,
    filter: Document,
    update: Document,
}

impl Change {
    pub fn of(next: &Run, durability: Durability) -> Result<Self> {
        let (id, operation) = (next.id.to_string(), rand::random());
        let update = change(next, operation)?;
        let size =
            update.get_document("$set").ok().and_then(|set| set.get_str("record").ok()).map_or(0, str::len);
        Ok(Self {
            filter: doc! { "_id": &id, "version": integer(next.version.saturating_sub(1)) },
            id,
            operation,
            synced: durability == Durability::Synced,
            size: size + 1024,
            update,
        })
    }
}

impl Core {
    /// Makes changes together; each answer says whether the run still was what the change expected.
    pub async fn change(self, changes: Vec<Change>) -> Vec<Result<bool>> {
        let call = self.call();
        let mut answers: Vec<Option<Result<bool>>> = changes.iter().map(|_| None).collect();
        let mut left: Vec<usize> = (0..changes.len()).collect();
        while !left.is_empty() {
            let (round, rest) = next_round(&changes, left);
            left = rest;
            let outcomes = self.change_together(&call, round.iter().map(|i| &changes[*i]).collect()).await;
            for (index, outcome) in round.into_iter().zip(outcomes) {
                answers[index] = Some(outcome);
            }
        }
        answers.into_iter().flatten().collect()
    }

    async fn change_together(&self, call: &Call, changes: Vec<&Change>) -> Vec<Result<bool>> {
        match self.try_changes(call, &changes).await {
            Ok(outcomes) => outcomes,
            Err(fault) => {
                let error = crate::StoreError::from(fault);
                changes.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }

    async fn try_changes(&self, call: &Call, changes: &[&Change]) -> Result<Vec<Result<bool>>, Fault> {
        let concern = if changes.iter().any(|change| change.synced) { synced() } else { relaxed() };
        let statements: Vec<_> = changes
            .iter()
            .map(|change| Statement { filter: change.filter.clone(), update: change.update.clone() })
            .collect();
        let updated = self.update(call, names::RUNS, &statements, &concern).await?;
        if updated.matched as usize == changes.len() {
            return Ok(changes.iter().map(|_| Ok(true)).collect());
        }
        let mut failed: BTreeMap<_, _> = updated.failed.into_iter().collect();
        let done = match (updated.matched, updated.tried_before) {
            (0, false) => BTreeSet::new(),
            _ => self.which_happened(call, changes).await?,
        };
        let outcome = |(index, change): (usize, &&Change)| match failed.remove(&index) {
            _ if done.contains(change.id.as_str()) => Ok(true),
            Some(fault) => Err(fault.into()),
            None => Ok(false),
        };
        Ok(changes.iter().enumerate().map(outcome).collect())
    }

    async fn which_happened<'a>(
        &self,
        call: &Call,
        changes: &[&'a Change],
    ) -> Result<BTreeSet<&'a str>, Fault> {
        let ids: Vec<_> = changes.iter().map(|change| change.id.as_str()).collect();
        let runs = self.raw(names::RUNS);
        let query = || async {
            runs.find(doc! { "_id": { "$in": &ids } }).projection(doc! { "operations": 1 }).await
        };
        let found = call.all(query, |_| false).await?;
        let found: BTreeMap<_, _> =
            found.iter().filter_map(|document| Some((text(document, "_id").ok()?, document))).collect();
        let happened = |change: &&&Change| {
            found.get(change.id.as_str()).is_some_and(|stored| knows_operation(stored, change.operation))
        };
        Ok(changes.iter().filter(happened).map(|change| change.id.as_str()).collect())
    }
}

/// As many as fit into one command, each run once, in the order of their ids: two commands never wait for each other in a
/// circle. And what is left.
fn next_round(changes: &[Change], left: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
    let (mut round, mut rest, mut size) = (BTreeMap::new(), Vec::new(), 0);
    for index in left {
        let change = &changes[index];
        let fits = round.is_empty() || size + change.size <= COMMAND_BYTES;
        if fits && !round.contains_key(change.id.as_str()) {
            size += change.size;
            round.insert(change.id.as_str(), index);
        } else {
            rest.push(index);
        }
    }
    (round.into_values().collect(), rest)
}

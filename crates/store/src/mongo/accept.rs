//! Accepting: runs that wait together are numbered by one write per organization and inserted by one command.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join_all, try_join_all};
use gantry_domain::run::{Run, RunState};
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ReturnDocument;

use super::calls::Call;
use super::document::{integer, knows_operation, new_document, number};
use super::errors::{Fault, of_code, passes};
use super::wakes::Lane;
use super::{Core, names};
use crate::{Idempotency, Result, StoreError};

/// A run on its way in.
pub(super) struct Accepting {
    organization: String,
    id: String,
    /// Where it waits.
    lane: Option<Lane>,
    operation: i64,
    idempotency: Option<Idempotency>,
    document: Document,
}

/// What came of it.
pub(super) enum Placed {
    /// Under this number.
    Created(u64),
    /// It was there before.
    Found(RawDocumentBuf),
    /// Its key was used with another body.
    KeyReused,
}

impl Accepting {
    pub fn of(run: &Run, idempotency: Option<Idempotency>) -> Result<Self> {
        let operation = rand::random();
        Ok(Self {
            organization: run.organization.to_string(),
            id: run.id.to_string(),
            lane: matches!(run.state, RunState::Pending { .. }).then(|| Lane::of(run)),
            operation,
            document: new_document(run, operation, idempotency.as_ref())?,
            idempotency,
        })
    }
}

impl Core {
    /// Accepts runs together; each has its own answer.
    pub async fn accept(self, mut runs: Vec<Accepting>) -> Vec<Result<Placed>> {
        let call = self.call();
        match self.prepare(&call, &mut runs).await {
            Ok(()) => {}
            Err(error) => return runs.iter().map(|_| Err(error.clone())).collect(),
        }
        let outcomes = self.insert(&call, &runs).await;
        let answers = runs.iter().zip(outcomes).map(async |(run, outcome)| match outcome {
            Ok(()) => Ok(Placed::Created(run.document.get_i64("number").unwrap_or(0).max(0) as u64)),
            Err(Fault::Duplicate) => self.existing(&call, run).await,
            Err(Fault::Store(error)) => Err(error),
        });
        join_all(answers).await
    }

    /// Numbers the runs and makes sure that dispatching looks at their lanes.
    async fn prepare(&self, call: &Call, runs: &mut [Accepting]) -> Result<()> {
        let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
        for run in &*runs {
            *wanted.entry(run.organization.clone()).or_default() += 1;
        }
        let lanes: BTreeSet<_> = runs.iter().filter_map(|run| run.lane.clone()).collect();
        let numbers = wanted.iter().map(async |(organization, count)| {
            let last = self.take_numbers(call, organization, *count).await?;
            Ok::<_, StoreError>((organization.clone(), last + 1 - count))
        });
        let awake = lanes.iter().map(|lane| self.keep_awake(call, lane));
        let (numbers, _) = tokio::try_join!(try_join_all(numbers), try_join_all(awake))?;
        let mut next: BTreeMap<_, _> = numbers.into_iter().collect();
        for run in runs {
            if let Some(number) = next.get_mut(&run.organization) {
                run.document.insert("number", integer(*number));
                *number += 1;
            }
        }
        Ok(())
    }

    /// Moves the organization's counter by `count` and answers the last number that is taken now. Numbers whose answer
    /// was lost are given to nobody.
    pub async fn take_numbers(&self, call: &Call, organization: &str, count: u64) -> Result<u64> {
        let counters = self.raw(names::COUNTERS);
        loop {
            let moved = call
                .run(|| async {
                    counters
                        .find_one_and_update(
                            doc! { "_id": organization },
                            doc! { "$inc": { "last": integer(count) } },
                        )
                        .return_document(ReturnDocument::After)
                        .await
                })
                .await?;
            if let Some(counter) = moved {
                return number(&counter, "last");
            }
            self.first_counter(call, organization).await?;
        }
    }

    /// Racing upserts could each believe to have made the counter; of racing inserts one does.
    pub async fn first_counter(&self, call: &Call, organization: &str) -> Result<()> {
        let counters = self.documents(names::COUNTERS);
        let inserted = call
            .run(|| async { counters.insert_one(doc! { "_id": organization, "last": 0_i64 }).await })
            .await;
        match inserted {
            Ok(_) | Err(Fault::Duplicate) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn insert(&self, call: &Call, runs: &[Accepting]) -> Vec<Result<(), Fault>> {
        let documents: Vec<_> = runs.iter().map(|run| &run.document).collect();
        self.insert_all(call, names::RUNS, &documents).await
    }

    /// Inserts documents in any order; each has its own outcome.
    pub async fn insert_all(
        &self,
        call: &Call,
        collection: &str,
        documents: &[&Document],
    ) -> Vec<Result<(), Fault>> {
        let collection = self.documents(collection);
        // What only some of the documents met is an answer, not a reason to try all of them again.
        let inserted = call.run(|| async {
            match collection.insert_many(documents.iter().copied()).ordered(false).await {
                Ok(_) => Ok(Vec::new()),
                Err(error) => own_errors(&error).ok_or(error),
            }
        });
        let failed = match inserted.await {
            Ok(failed) => failed,
            Err(Fault::Duplicate) => return documents.iter().map(|_| Err(Fault::Duplicate)).collect(),
            Err(Fault::Store(error)) => {
                return documents.iter().map(|_| Err(Fault::Store(error.clone()))).collect();
            }
        };
        let mut outcomes: Vec<_> = documents.iter().map(|_| Ok(())).collect();
        for (index, code, text) in failed {
            if let Some(outcome) = outcomes.get_mut(index) {
                *outcome = Err(of_code(code, &text));
            }
        }
        outcomes
    }

    /// The run that was accepted with this key, if any; nothing of it when that was with another body.
    pub async fn of_key(
        &self,
        call: &Call,
        organization: &str,
        wanted: &Idempotency,
    ) -> Result<Option<Option<RawDocumentBuf>>> {
        let runs = self.raw(names::RUNS);
        let filter = doc! { "organization": organization, "key": &wanted.key };
        let found = call.run(|| async { runs.find_one(filter.clone()).await }).await?;
        Ok(found.map(|found| {
            let hash = found.get_binary("key_hash").map(|hash| hash.bytes.to_vec());
            (hash.ok().as_deref() == Some(&wanted.body_hash[..])).then_some(found)
        }))
    }

    /// Something with this key or id is there already: the same request, perhaps this very one whose answer was lost.
    async fn existing(&self, call: &Call, run: &Accepting) -> Result<Placed> {
        if let Some(wanted) = &run.idempotency {
            match self.of_key(call, &run.organization, wanted).await? {
                Some(Some(found)) => return placed(run, found),
                Some(None) => return Ok(Placed::KeyReused),
                None => {}
            }
        }
        let runs = self.raw(names::RUNS);
        let found = call.run(|| async { runs.find_one(doc! { "_id": &run.id }).await }).await?;
        match found {
            Some(found) if found.get_str("organization").ok() == Some(&run.organization) => {
                placed(run, found)
            }
            Some(_) => Err(StoreError::Corrupt(format!("run {} is another organization's", run.id))),
            // Its key was there a moment ago: it was forgotten or deleted meanwhile.
            None => Err(StoreError::Unavailable("a run with the same key is just going".to_owned())),
        }
    }
}

fn placed(run: &Accepting, found: RawDocumentBuf) -> Result<Placed> {
    if knows_operation(&found, run.operation) {
        return Ok(Placed::Created(number(&found, "number")?));
    }
    Ok(Placed::Found(found))
}

/// The errors of single documents, when there is nothing wrong beside them and trying again is no help.
fn own_errors(error: &Error) -> Option<Vec<(usize, i32, String)>> {
    let ErrorKind::InsertMany(failed) = error.kind.as_ref() else { return None };
    if failed.write_concern_error.is_some() || passes(error) {
        return None;
    }
    let errors = failed.write_errors.as_deref().filter(|errors| !errors.is_empty())?;
    Some(errors.iter().map(|error| (error.index, error.code, error.message.clone())).collect())
}

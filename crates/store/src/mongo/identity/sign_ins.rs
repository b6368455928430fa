use async_trait::async_trait;
use gantry_domain::identity::lockout::{Failures, Subject};
use gantry_domain::time::Timestamp;
use mongodb::bson::{RawDocument, doc};

use super::super::calls::Call;
use super::super::document::{number, time, time_of};
use super::super::errors::Fault;
use super::super::options::relaxed;
use super::super::{Core, Mongo, names};
use crate::{Attempt, Result, SignInStore};

/// What is counted, and the version it is counted in.
struct Counted {
    failures: Failures,
    version: i64,
}

impl Counted {
    fn read(document: &RawDocument) -> Result<Self> {
        let count = u32::try_from(number(document, "count")?).unwrap_or(u32::MAX);
        Ok(Self {
            failures: Failures { count, last_at: time_of(document, "last_at")? },
            version: i64::try_from(number(document, "version")?).unwrap_or(i64::MAX),
        })
    }
}

impl Core {
    async fn counted(&self, call: &Call, subject: &str) -> Result<Option<Counted>> {
        let found = self.first(call, names::FAILURES, &doc! { "_id": subject }).await?;
        found.map(|found| Counted::read(&found)).transpose()
    }

    /// Stores what comes after `known`; false when somebody else was faster.
    async fn count(
        &self,
        call: &Call,
        subject: &str,
        known: Option<&Counted>,
        next: Failures,
    ) -> Result<bool> {
        let failures = self.documents(names::FAILURES);
        let Some(known) = known else {
            let first = doc! {
                "_id": subject, "version": 1_i64, "count": i64::from(next.count), "last_at": time(next.last_at),
            };
            let inserted = call.run(|| async { failures.insert_one(&first).write_concern(relaxed()).await });
            return match inserted.await {
                Ok(_) => Ok(true),
                Err(Fault::Duplicate) => Ok(false),
                Err(fault) => Err(fault.into()),
            };
        };
        let filter = doc! { "_id": subject, "version": known.version };
        let update = doc! { "$set": {
            "version": known.version + 1, "count": i64::from(next.count), "last_at": time(next.last_at),
        } };
        let updated = call.run(|| async {
            failures.update_one(filter.clone(), update.clone()).write_concern(relaxed()).await
        });
        Ok(updated.await?.matched_count > 0)
    }
}

/// An answer that was lost counts an attempt twice: nobody gets through more often for it.
#[async_trait]
impl SignInStore for Mongo {
    async fn attempt(&self, subject: &Subject, now: Timestamp) -> Result<Attempt> {
        let (call, name) = (self.core.call(), subject.to_string());
        loop {
            let known = self.core.counted(&call, &name).await?;
            let failures = known.as_ref().map(|known| known.failures);
            let next = match Failures::attempt(failures, subject.policy(), now) {
                Ok(next) => next,
                Err(until) => return Ok(Attempt::Locked(until)),
            };
            if self.core.count(&call, &name, known.as_ref(), next).await? {
                return Ok(Attempt::Counted { now: next, before: failures });
            }
        }
    }

    async fn take_back(&self, subject: &Subject, counted: Failures, before: Option<Failures>) -> Result<()> {
        let (call, name) = (self.core.call(), subject.to_string());
        loop {
            let Some(known) = self.core.counted(&call, &name).await? else { return Ok(()) };
            let without = known.failures.take_back(counted, before);
            if self.core.count(&call, &name, Some(&known), without).await? {
                return Ok(());
            }
        }
    }

    async fn forgive(&self, subject: &Subject) -> Result<()> {
        self.core.forget_kept(names::FAILURES, doc! { "_id": subject.to_string() }).await?;
        Ok(())
    }

    async fn failures(&self, subject: &Subject) -> Result<Option<Failures>> {
        let known = self.core.counted(&self.core.call(), &subject.to_string()).await?;
        Ok(known.map(|known| known.failures))
    }

    async fn forget(&self, before: Timestamp) -> Result<u64> {
        self.core.forget_kept(names::FAILURES, doc! { "last_at": { "$lt": time(before) } }).await
    }
}

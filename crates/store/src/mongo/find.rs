//! Finding runs: each query names the index that serves it.

use gantry_domain::run::Run;
use mongodb::bson::{Document, RawDocumentBuf};

use super::calls::Call;
use super::document::projection;
use super::schema::Index;
use super::{Core, names};
use crate::Result;

/// A query for runs.
pub(super) struct Wanted {
    pub filter: Document,
    pub sort: Document,
    pub index: Index,
}

impl Core {
    /// The first `limit` runs of a query.
    pub async fn find_runs(&self, call: &Call, wanted: &Wanted, limit: u32) -> Result<Vec<Run>> {
        Ok(self.find_some(call, wanted, limit).await?.0)
    }

    /// The same, and whether these were all. Unreadable ones are left out.
    pub async fn find_some(&self, call: &Call, wanted: &Wanted, limit: u32) -> Result<(Vec<Run>, bool)> {
        loop {
            let known = self.aside.known();
            let count = limit.max(1).saturating_add(known);
            let found = self.find_documents(call, wanted, projection(), count.into()).await?;
            let at_end = found.len() < count as usize;
            let mut runs = Vec::with_capacity(found.len());
            for document in &found {
                runs.extend(self.sift(document)?);
            }
            self.write_down_aside().await;
            // Those found unreadable just now took the places of others.
            let again = runs.len() < limit as usize && !at_end && self.aside.known() > known;
            if !again {
                let all = at_end && runs.len() <= limit as usize;
                runs.truncate(limit as usize);
                return Ok((runs, all));
            }
        }
    }

    pub async fn find_documents(
        &self,
        call: &Call,
        wanted: &Wanted,
        fields: Document,
        limit: i64,
    ) -> Result<Vec<RawDocumentBuf>> {
        let runs = self.raw(names::RUNS);
        let batch = u32::try_from(limit).unwrap_or(u32::MAX).min(1000);
        let query = || async {
            runs.find(wanted.filter.clone())
                .sort(wanted.sort.clone())
                .projection(fields.clone())
                .limit(limit)
                .batch_size(batch)
                .hint(wanted.index.hint())
                .await
        };
        Ok(call.all(query, |_| false).await?)
    }

    /// The answer of a pipeline that begins with an index.
    pub async fn aggregate(
        &self,
        call: &Call,
        collection: &str,
        pipeline: &[Document],
        index: &Index,
    ) -> Result<Vec<RawDocumentBuf>> {
        let collection = self.documents(collection);
        let query = || async {
            let aggregate = collection.aggregate(pipeline.iter().cloned()).hint(index.hint());
            aggregate.with_type::<RawDocumentBuf>().await
        };
        Ok(call.all(query, |_| false).await?)
    }
}

//! Test results: one document per attempt that names the generation that counts, and its blocks. A new generation is
//! written beside the old one and counts from the moment it is named, so that a reader sees one or the other.

use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::results::{TestResult, TestStatus};
use mongodb::bson::{Bson, Document, RawDocument, doc};

use super::calls::Call;
use super::document::{bad, bytes, number, text};
use super::errors::Fault;
use super::logs::{beginning_with, of_attempt, of_run};
use super::options::relaxed;
use super::{Core, Mongo, names};
use crate::record::{ResultBlock, decode_results, encode_results, status_bit};
use crate::{LogKey, Result, StoreError, TestResultStore};

/// Blocks up to this together are kept in the attempt's own document.
const INLINE_BYTES: usize = 1024 * 1024;
/// Blocks inserted by one command.
const TOGETHER_BYTES: usize = 4 * 1024 * 1024;

#[async_trait]
impl TestResultStore for Mongo {
    async fn put(&self, attempt: LogKey, results: &[TestResult]) -> Result<()> {
        let results = results.to_vec();
        let blocks =
            tokio::task::spawn_blocking(move || encode_results(&results)).await.map_err(|error| {
                StoreError::Unavailable(format!("test results were not compressed: {error}"))
            })??;
        let (core, prefix) = (&self.core, of_attempt(attempt));
        let inline = blocks.iter().map(|block| block.body.len()).sum::<usize>() <= INLINE_BYTES;
        let generation = format!("{:016x}", rand::random::<u64>());
        let head = if inline {
            doc! { "blocks": blocks.iter().map(|block| Bson::from(block_document(block))).collect::<Vec<_>>() }
        } else {
            insert_blocks(core, &prefix, &generation, &blocks).await?;
            doc! { "generation": &generation }
        };
        let call = core.call();
        let documents = core.documents(names::RESULTS);
        // Upserts of the same attempt that race meet each other's id: the next try finds it.
        loop {
            let put = call.run(|| async {
                let replaced = documents.replace_one(doc! { "_id": &prefix }, &head);
                replaced.upsert(true).write_concern(relaxed()).await
            });
            match put.await {
                Ok(_) => break,
                Err(Fault::Duplicate) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        let mut old = beginning_with(&prefix);
        let kept = if inline { String::new() } else { generation };
        if let Ok(range) = old.get_document_mut("_id") {
            range.remove("$gte");
            range.insert("$gt", &prefix);
        }
        old.insert("generation", doc! { "$ne": kept });
        call.run(|| async { documents.delete_many(old.clone()).write_concern(relaxed()).await }).await?;
        Ok(())
    }

    async fn list(
        &self,
        attempt: LogKey,
        statuses: &[TestStatus],
        from: u32,
        limit: u32,
    ) -> Result<Vec<(u32, TestResult)>> {
        let wanted = match statuses {
            [] => u8::MAX,
            some => some.iter().fold(0, |bits, status| bits | status_bit(*status)),
        };
        let (core, call, prefix) = (&self.core, self.core.call(), of_attempt(attempt));
        let documents = core.raw(names::RESULTS);
        let head = call.run(|| async { documents.find_one(doc! { "_id": &prefix }).await }).await?;
        let Some(head) = head else { return Ok(Vec::new()) };
        let mut found = Found { from, limit: limit as usize, wanted, results: Vec::new() };
        if let Ok(blocks) = head.get_array("blocks") {
            for block in blocks {
                let block =
                    block.ok().and_then(|block| block.as_document()).ok_or_else(|| bad(&head, "blocks"))?;
                found.look_into(block)?;
            }
            return Ok(found.results);
        }
        let mut blocks = beginning_with(&format!("{prefix}{}/", text(&head, "generation")?));
        blocks.insert("stop", doc! { "$gt": i64::from(from) });
        let mut cursor = call
            .run(|| async { documents.find(blocks.clone()).sort(doc! { "_id": 1 }).batch_size(16).await })
            .await?;
        while !found.is_full() {
            let more = tokio::time::timeout(core.patience, cursor.advance()).await;
            let more =
                more.map_err(|_| StoreError::Unavailable("the server does not answer in time".to_owned()))?;
            if !more.map_err(|error| super::errors::fault(&error))? {
                break;
            }
            found.look_into(cursor.current())?;
        }
        Ok(found.results)
    }
}

/// What a search has found so far.
struct Found {
    from: u32,
    limit: usize,
    wanted: u8,
    results: Vec<(u32, TestResult)>,
}

impl Found {
    fn is_full(&self) -> bool {
        self.results.len() >= self.limit
    }

    fn look_into(&mut self, block: &RawDocument) -> Result<()> {
        let position =
            |field: &str| Ok::<_, StoreError>(u32::try_from(number(block, field)?).unwrap_or(u32::MAX));
        let (first, stop, statuses) = (position("first")?, position("stop")?, number(block, "statuses")?);
        if self.is_full() || stop <= self.from || statuses & u64::from(self.wanted) == 0 {
            return Ok(());
        }
        let body = block.get_binary("body").map_err(|_| bad(block, "body"))?;
        let fits = |(position, result): &(u32, TestResult)| {
            *position >= self.from && status_bit(result.status) & self.wanted != 0
        };
        let results = (first..).zip(decode_results(body.bytes)?).filter(fits);
        let room = self.limit - self.results.len();
        let results: Vec<_> = results.take(room).collect();
        self.results.extend(results);
        Ok(())
    }
}

fn block_document(block: &ResultBlock) -> Document {
    doc! {
        "first": i64::from(block.first),
        "stop": i64::from(block.first + block.count),
        "statuses": i32::from(block.statuses),
        "body": bytes(&block.body),
    }
}

async fn insert_blocks(core: &Core, prefix: &str, generation: &str, blocks: &[ResultBlock]) -> Result<()> {
    let mut rest = blocks;
    while !rest.is_empty() {
        let mut size = 0;
        let fit = rest.iter().take_while(|block| {
            size += block.body.len();
            size <= TOGETHER_BYTES
        });
        let (part, tail) = rest.split_at(fit.count().max(1));
        rest = tail;
        let documents: Vec<_> = part
            .iter()
            .map(|block| {
                let mut document = doc! { "_id": format!("{prefix}{generation}/{:010}", block.first) };
                document.insert("generation", generation);
                document.extend(block_document(block));
                document
            })
            .collect();
        let borrowed: Vec<_> = documents.iter().collect();
        for outcome in core.insert_all(&core.call(), names::RESULTS, &borrowed).await {
            match outcome {
                // The generation is our own: an earlier try stored it.
                Ok(()) | Err(Fault::Duplicate) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
    }
    Ok(())
}

impl Core {
    /// Removes a run's results.
    pub async fn clear_results(&self, call: &Call, organization: OrganizationId, run: RunId) -> Result<()> {
        self.clear_beginning_with(call, names::RESULTS, &of_run(organization, run)).await
    }
}

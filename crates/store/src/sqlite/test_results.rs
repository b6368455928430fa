use async_trait::async_trait;
use gantry_domain::results::{TestResult, TestStatus};
use rusqlite::params;

use super::row::key;
use super::{Sqlite, statements as sql};
use crate::record::{decode_results, encode_results, status_bit};
use crate::{Durability, LogKey, Result, StoreError, TestResultStore};

#[async_trait]
impl TestResultStore for Sqlite {
    async fn put(&self, attempt: LogKey, results: &[TestResult]) -> Result<()> {
        let results = results.to_vec();
        let blocks =
            tokio::task::spawn_blocking(move || encode_results(&results)).await.map_err(|error| {
                StoreError::Unavailable(format!("test results were not compressed: {error}"))
            })??;
        let ids = (key(attempt.organization.as_u128()), key(attempt.run.as_u128()), attempt.attempt);
        self.writer
            .write(Durability::Relaxed, move |writing| {
                writing.connection.prepare_cached(sql::CLEAR_BLOCKS)?.execute(ids)?;
                let mut insert = writing.connection.prepare_cached(sql::INSERT_BLOCK)?;
                let (organization, run, attempt) = ids;
                for block in &blocks {
                    insert.execute(params![
                        organization,
                        run,
                        attempt,
                        block.first,
                        block.count,
                        block.statuses,
                        block.body
                    ])?;
                }
                Ok(())
            })
            .await
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
        let (organization, run) = (key(attempt.organization.as_u128()), key(attempt.run.as_u128()));
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached(sql::READ_BLOCKS)?;
                let mut rows = statement.query(params![organization, run, attempt.attempt, from, wanted])?;
                let mut found = Vec::new();
                while found.len() < limit as usize
                    && let Some(row) = rows.next()?
                {
                    let (first, body): (u32, Vec<u8>) = (row.get(0)?, row.get(1)?);
                    let results = (first..).zip(decode_results(&body)?);
                    let wanted = results.filter(|(position, result)| {
                        *position >= from && status_bit(result.status) & wanted != 0
                    });
                    found.extend(wanted.take(limit as usize - found.len()));
                }
                Ok(found)
            })
            .await
    }
}

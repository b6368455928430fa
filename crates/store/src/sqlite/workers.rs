use std::sync::Arc;

use async_trait::async_trait;
use gantry_domain::id::WorkerId;
use gantry_domain::time::Timestamp;
use gantry_domain::worker::Worker;
use rusqlite::{Connection, OptionalExtension, params};

use super::row::{Id, key};
use super::{Sqlite, statements as sql};
use crate::aside::{DocumentKind, Subject, state_of};
use crate::record::{decode_worker, encode_worker};
use crate::{Durability, Result, WorkerStore};

#[async_trait]
impl WorkerStore for Sqlite {
    async fn put(&self, worker: &Worker) -> Result<Worker> {
        let said = worker.clone();
        self.writer
            .write(Durability::Relaxed, move |writing| {
                let mut worker = said.clone();
                // Not from its record, which another version may have written.
                let known = writing
                    .connection
                    .prepare_cached(sql::WORKER_STANDING)?
                    .query_row([key(worker.id.as_u128())], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                if let Some((draining, registered_at)) = known {
                    worker.draining = draining;
                    worker.registered_at = Timestamp::from_millis(registered_at);
                }
                store(writing.connection, &worker)?;
                Ok(worker)
            })
            .await
    }

    async fn get(&self, id: WorkerId) -> Result<Option<Worker>> {
        self.readers.read(move |connection| find(connection, id)).await
    }

    async fn list(&self) -> Result<Vec<Worker>> {
        let aside = Arc::clone(&self.aside);
        let workers = self
            .readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached(sql::WORKERS)?;
                let mut rows = statement.query([])?;
                let mut workers = Vec::new();
                while let Some(row) = rows.next()? {
                    let (record, id): (Vec<u8>, Id) = (row.get(0)?, row.get(1)?);
                    let (id, state) = (u128::from_be_bytes(id), state_of(&record));
                    let subject = Subject { kind: DocumentKind::Worker, id, organization: None, state };
                    workers.extend(aside.sift(subject, || decode_worker(&record))?);
                }
                Ok(workers)
            })
            .await;
        self.write_down_aside().await;
        workers
    }

    async fn set_draining(&self, id: WorkerId, draining: bool) -> Result<bool> {
        self.writer
            .write(Durability::Relaxed, move |writing| {
                let Some(mut worker) = find(writing.connection, id)? else { return Ok(false) };
                worker.draining = draining;
                store(writing.connection, &worker)?;
                Ok(true)
            })
            .await
    }

    async fn forget(&self, id: Option<WorkerId>, before: Timestamp) -> Result<u64> {
        let id = id.map(|id| key(id.as_u128()));
        self.writer
            .write(Durability::Relaxed, move |writing| {
                let mut forget = writing.connection.prepare_cached(sql::FORGET_WORKERS)?;
                Ok(forget.execute(params![id, before.as_millis()])? as u64)
            })
            .await
    }
}

fn find(connection: &Connection, id: WorkerId) -> Result<Option<Worker>> {
    let mut statement = connection.prepare_cached(sql::WORKER)?;
    let record: Option<Vec<u8>> = statement.query_row([key(id.as_u128())], |row| row.get(0)).optional()?;
    record.map(|record| decode_worker(&record)).transpose()
}

fn store(connection: &Connection, worker: &Worker) -> Result<()> {
    connection.prepare_cached(sql::PUT_WORKER)?.execute(params![
        key(worker.id.as_u128()),
        worker.pool.as_str(),
        worker.draining,
        worker.registered_at.as_millis(),
        worker.last_seen_at.as_millis(),
        encode_worker(worker)?,
    ])?;
    Ok(())
}

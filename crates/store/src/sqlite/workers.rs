use async_trait::async_trait;
use gantry_domain::id::WorkerId;
use gantry_domain::time::Timestamp;
use gantry_domain::worker::Worker;
use rusqlite::{Connection, OptionalExtension, params};

use super::row::key;
use super::{Sqlite, statements as sql};
use crate::record::{decode_worker, encode_worker};
use crate::{Durability, Result, WorkerStore};

#[async_trait]
impl WorkerStore for Sqlite {
    async fn put(&self, worker: &Worker) -> Result<Worker> {
        let said = worker.clone();
        self.writer
            .write(Durability::Relaxed, move |writing| {
                let mut worker = said.clone();
                if let Some(known) = find(writing.connection, worker.id)? {
                    worker.draining = known.draining;
                    worker.registered_at = known.registered_at;
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
        self.readers
            .read(|connection| {
                let mut statement = connection.prepare_cached(sql::WORKERS)?;
                let mut rows = statement.query([])?;
                let mut workers = Vec::new();
                while let Some(row) = rows.next()? {
                    workers.push(decode_worker(&row.get::<_, Vec<u8>>(0)?)?);
                }
                Ok(workers)
            })
            .await
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

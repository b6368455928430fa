//! `gantry workers`: who executes runs.

use std::io::Write as _;

use gantry_api_types::fleet::WorkerStatus;
use gantry_client::ApiClient;

use super::now;
use crate::args::Output;
use crate::failure::Failure;
use crate::terminal::style::{DIM, GREEN, RED, YELLOW};
use crate::terminal::table::{Rows, coloured, plain};
use crate::terminal::{human, json};

pub async fn run(client: &ApiClient, output: Output) -> Result<(), Failure> {
    let workers = client.workers().await?;
    if output == Output::Json {
        return json::print(&workers);
    }
    if workers.items.is_empty() {
        writeln!(anstream::stderr().lock(), "There are no workers yet.")?;
        return Ok(());
    }
    let mut rows = Rows::new(&[
        "worker",
        "status",
        "pool",
        "executor",
        "busy",
        "disk free",
        "version",
        "last seen",
        "note",
    ])
    .keep_whole(&[1, 4, 5, 7]);
    for worker in &workers.items {
        let (status, colour) = match worker.status {
            WorkerStatus::Online => ("online", GREEN),
            WorkerStatus::Draining => ("draining", YELLOW),
            WorkerStatus::Paused => ("paused", RED),
            WorkerStatus::Offline => ("offline", DIM),
        };
        rows.push(vec![
            plain(&worker.name),
            coloured(status, colour),
            plain(&worker.pool),
            plain(&worker.executor),
            plain(format!("{} of {}", worker.busy, worker.slots)),
            plain(worker.disk_free_bytes.map(human::bytes).unwrap_or_default()),
            plain(&worker.version),
            plain(human::ago(worker.last_seen_at, now())),
            plain(worker.paused.as_deref().unwrap_or_default()),
        ]);
    }
    rows.print()
}

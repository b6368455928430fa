//! `gantry workers`: who executes runs, and who shall take no more.

use std::io::Write as _;

use gantry_api_types::fleet::{Worker, WorkerStatus};
use gantry_client::ApiClient;
use gantry_domain::id::WorkerId;

use super::now;
use crate::args::{Output, WorkersCommand};
use crate::failure::Failure;
use crate::terminal::style::{DIM, GREEN, RED, YELLOW};
use crate::terminal::table::{Rows, coloured, plain};
use crate::terminal::{human, json};

pub async fn run(client: &ApiClient, output: Output, command: Option<WorkersCommand>) -> Result<(), Failure> {
    match command {
        None => list(client, output).await,
        Some(WorkersCommand::Drain(names)) => ask(client, output, &names.workers, true).await,
        Some(WorkersCommand::Undrain(names)) => ask(client, output, &names.workers, false).await,
    }
}

async fn ask(client: &ApiClient, output: Output, names: &[String], drain: bool) -> Result<(), Failure> {
    let known = client.workers().await?.items;
    // All of them before any is asked: a mistyped name changes nothing.
    let ids = names.iter().map(|name| find(&known, name)).collect::<Result<Vec<_>, _>>()?;
    for id in ids {
        let worker = if drain { client.drain(id).await? } else { client.undrain(id).await? };
        if output == Output::Json {
            json::print_line(&worker)?;
            continue;
        }
        let mut out = anstream::stdout().lock();
        match (drain, worker.busy) {
            (true, 0) => writeln!(out, "{} takes no more runs.", worker.name)?,
            (true, busy) => {
                writeln!(out, "{} takes no more runs, and finishes the {busy} it has.", worker.name)?;
            }
            (false, _) => writeln!(out, "{} takes runs again.", worker.name)?,
        }
    }
    Ok(())
}

/// By its id, or by the name of one that lives.
fn find(known: &[Worker], name: &str) -> Result<WorkerId, Failure> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let named: Vec<&Worker> = known.iter().filter(|worker| worker.name == name).collect();
    let alive: Vec<&Worker> =
        named.iter().copied().filter(|worker| worker.status != WorkerStatus::Offline).collect();
    let candidates = if alive.is_empty() { named } else { alive };
    match candidates.as_slice() {
        [one] => one.id.parse().map_err(|_| Failure::refused("The server gave no id.")),
        [] => Err(Failure::refused(format!("There is no worker called {name}."))
            .hint("`gantry workers` lists them.")),
        several => {
            let ids: Vec<_> = several.iter().map(|worker| worker.id.as_str()).collect();
            let count = several.len();
            Err(Failure::refused(format!("{count} workers are called {name}: name one by its id."))
                .hint(ids.join("  ")))
        }
    }
}

async fn list(client: &ApiClient, output: Output) -> Result<(), Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(id: u128, name: &str, status: WorkerStatus) -> Worker {
        Worker {
            id: WorkerId::from_u128(id).to_string(),
            name: name.to_owned(),
            version: "1".to_owned(),
            pool: "default".to_owned(),
            executor: "docker".to_owned(),
            status,
            slots: 1,
            busy: 0,
            disk_free_bytes: None,
            disk_total_bytes: None,
            paused: None,
            registered_at: now(),
            last_seen_at: now(),
        }
    }

    #[test]
    fn a_worker_is_found_by_its_id_or_by_the_name_of_one_that_lives() {
        let known = [
            worker(1, "a", WorkerStatus::Offline),
            worker(2, "a", WorkerStatus::Online),
            worker(3, "b", WorkerStatus::Offline),
            worker(4, "c", WorkerStatus::Online),
            worker(5, "c", WorkerStatus::Draining),
        ];
        let found = |name: &str| find(&known, name).ok().map(WorkerId::as_u128);
        assert_eq!([found("a"), found("b"), found("c"), found("d")], [Some(2), Some(3), None, None]);
        assert_eq!(found(&WorkerId::from_u128(9).to_string()), Some(9), "the server knows better");
    }
}

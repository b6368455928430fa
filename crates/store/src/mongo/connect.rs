use std::sync::{Arc, Mutex};

use mongodb::Client;
use mongodb::options::ClientOptions;

use super::batch::Batcher;
use super::clock::ServerClock;
use super::{Core, Mongo, MongoOptions, MongoStores, schema};
use crate::{Result, StoreError};

/// Batches of one kind under way at the same time. The fewer, the larger: a statement among many costs the server a fraction
/// of one that comes alone.
const TOGETHER: usize = 2;

/// Connects, and brings the database to the present schema. Fails when no server answers within
/// [`server_selection`](MongoOptions::server_selection); once connected, an outage makes calls fail until it is over.
pub async fn connect(options: MongoOptions) -> Result<MongoStores> {
    let (resolved, database) = options.resolve().await?;
    connect_with(&options, resolved, &database).await
}

pub(super) async fn connect_with(
    options: &MongoOptions,
    resolved: ClientOptions,
    database: &str,
) -> Result<MongoStores> {
    let hosts: Vec<_> = resolved.hosts.iter().map(ToString::to_string).collect();
    let hosts = hosts.join(", ");
    let named =
        |error: StoreError| match error {
            StoreError::Unavailable(why) => StoreError::Unavailable(options.redact(&format!(
                "no MongoDB at {hosts} can be used: start it, or correct the address ({why})"
            ))),
            other => other,
        };
    let client =
        Client::with_options(resolved).map_err(|error| named(super::errors::fault(&error).into()))?;
    let core = Core {
        database: client.database(database),
        patience: options.operation,
        wakes: Arc::default(),
        log_ends: Arc::default(),
        aside: Arc::default(),
    };
    let clock = Arc::new(ServerClock::default());
    clock.ask(&core).await.map_err(|fault| named(fault.into()))?;
    schema::migrate(&core).await.map_err(named)?;
    core.look_again().await.map_err(named)?;

    let following = tokio::spawn(clock.clone().follow(core.clone()));
    let accepting = core.clone();
    let (accepts, accepts_task) =
        Batcher::start(options.waiting, TOGETHER, move |runs| accepting.clone().accept(runs));
    let changing = core.clone();
    let (changes, changes_task) =
        Batcher::start(options.waiting, TOGETHER, move |changes| changing.clone().change(changes));
    let finding = core.clone();
    let (finds, finds_task) =
        Batcher::start(options.waiting, TOGETHER, move |ids| finding.clone().find_each(ids));
    let mongo = Arc::new(Mongo { core, accepts, changes, finds, lanes: Default::default() });
    let tasks = Mutex::new(vec![accepts_task, changes_task, finds_task]);
    Ok(MongoStores { mongo, client, clock, following, tasks })
}

//! Changes of runs as they happen.

use async_stream::try_stream;
use futures::Stream;
use gantry_api_types::run::Run;
use serde::Deserialize;

use crate::error::ClientError;
use crate::follow::data;
use crate::subscription::{Step, Subscription};

/// Something changed in the organization.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A run as it stands now.
    Run(Box<Run>),
    /// The id of a run that is gone.
    Deleted(String),
}

#[derive(Deserialize)]
struct DeletedData {
    id: String,
}

pub(crate) fn changes(mut events: Subscription) -> impl Stream<Item = Result<Change, ClientError>> + Send {
    try_stream! {
        loop {
            let Step::Event(event) = events.next().await? else { continue };
            match event.kind.as_str() {
                "run" => yield Change::Run(Box::new(data(&event)?)),
                "deleted" => {
                    let DeletedData { id } = data(&event)?;
                    yield Change::Deleted(id);
                }
                _ => {}
            }
        }
    }
}

/// Ends with the run: after its final state, or when it is deleted.
pub(crate) fn run_changes(events: Subscription) -> impl Stream<Item = Result<Run, ClientError>> + Send {
    try_stream! {
        for await change in changes(events) {
            let Change::Run(run) = change? else { return };
            let over = run.status.is_final();
            yield *run;
            if over {
                return;
            }
        }
    }
}

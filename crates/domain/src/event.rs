//! What happened, in the few words that a live view needs to look again.

use serde::{Deserialize, Serialize};

use crate::id::{OrganizationId, RunId};

/// One change, told to every replica. Losing one costs a live view a moment, never data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub organization: OrganizationId,
    pub run: RunId,
    pub change: Change,
    /// Of the run after this change, as far as whoever tells it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The run's document changed.
    Run,
    /// The attempt's log now reaches to `end`.
    Log { attempt: u32, end: u64 },
    /// The run was deleted.
    Deleted,
}

//! What could not be read: documents of the store, messages of the broker.

use gantry_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/system/set-aside`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetAside {
    /// The latest first, 100 at most.
    pub items: Vec<SetAsideDocument>,
    /// Messages that wait in the broker's queue of unreadable ones, of the whole installation; null while the broker does not answer.
    pub messages: Option<u64>,
}

/// A stored document that could not be read. It is kept as it is; every start of a producer tries again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetAsideDocument {
    /// `run` or `worker`.
    pub kind: String,
    pub id: String,
    pub why: String,
    /// When this was first seen.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

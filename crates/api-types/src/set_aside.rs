//! Documents of the store that could not be read.

use gantry_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/system/set-aside`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetAside {
    /// The latest first, 100 at most.
    pub items: Vec<SetAsideDocument>,
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

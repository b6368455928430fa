//! The wire: what the public API (`/api/v1`) and the worker protocol (`/worker/v1`) send and take, shared by the
//! producer, the client and the OpenAPI document. Shapes here change only compatibly; the domain may change freely.

pub mod fleet;
pub mod identity;
pub mod log;
pub mod object;
pub mod problem;
pub mod project;
pub mod request;
pub mod run;
pub mod set_aside;
pub mod system;
pub mod worker;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass it as `cursor` to get the next page; `null` at the end. A page may be short and still have one.
    pub next_cursor: Option<String>,
}

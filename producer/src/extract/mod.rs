//! What a handler gets handed: the caller, the loaded resource, the parsed body. Authentication and tenancy happen here,
//! so that a handler cannot forget them.

pub mod access;
pub mod auth;
pub mod caller;
pub mod client_address;
pub mod json;
pub mod path;
pub mod query;
pub mod rate;
pub mod request_id;
pub mod run;

pub use access::Access;
pub use auth::WorkerAuth;
pub use caller::Person;
pub use client_address::ClientAddress;
pub use json::ApiJson;
pub use path::ApiPath;
pub use query::ApiQuery;
pub use run::{Loaded, RunPath};

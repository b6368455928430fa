//! What can be done with runs. Functions here know the store and the domain, nothing of HTTP.

pub mod accept;
pub mod allowances;
pub mod broker;
pub mod cancel;
pub mod census;
pub mod claim;
pub mod concurrency;
pub mod dispatch;
pub mod environment;
pub mod finish;
pub mod fleet;
pub mod founding;
pub mod heartbeat;
pub mod idempotency;
pub mod identity;
pub mod masking;
pub mod overview;
pub mod projects;
pub mod queued;
pub mod recent;
pub mod room;
pub mod rotation;
pub mod secrets;
pub mod tidy;
pub mod transition;

pub use gantry_credentials as credentials;

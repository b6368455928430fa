//! Requests to addresses that users give: webhooks, chat services, monitors. Whoever may write such an address could otherwise
//! make Gantry ask its own neighbours, which no firewall protects from it: the store, the engine, the cloud's metadata.
//!
//! [`Outgoing`] resolves a name once, refuses every address that is not public unless an operator allowed it, connects to the
//! very address it checked, follows no redirect, knows no proxy, and bounds time and bytes. There is no other way in here to
//! connect to anything.
//!
//! [`signature`] lets receivers know that a webhook is from us.

mod address;
mod allow;
mod client;
mod error;
mod exchange;
mod resolve;
pub mod signature;
mod target;

pub use self::address::is_public;
pub use self::allow::{AllowList, BadAllowList};
pub use self::client::{BadAuthorities, Limits, Outgoing, OutgoingOptions};
pub use self::error::OutgoingError;
pub use self::exchange::{Answer, OutgoingRequest};
pub use self::resolve::{Resolve, SystemResolver};
pub use self::target::{BadTarget, Target};

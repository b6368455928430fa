//! The client against servers that play a script.
#![expect(clippy::unwrap_used, reason = "tests")]

mod calls;
mod live;
mod replicas;
mod scripted;

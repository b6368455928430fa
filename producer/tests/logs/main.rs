//! Logs: taken in, read in every cut, followed, sealed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod appending;
mod events;
mod following;
mod plain;
mod sample;
mod sealing;
#[path = "../support/mod.rs"]
mod support;

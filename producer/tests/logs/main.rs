//! Logs: taken in, read in every cut, followed, sealed.

mod appending;
mod events;
mod following;
mod plain;
mod sample;
mod sealing;
#[path = "../support/mod.rs"]
mod support;

//! Mail over real sockets, to a server that can be told to misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod encryption;
mod server;
mod smtp;

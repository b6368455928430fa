//! Requests over real sockets. Two addresses of this machine play the two sides: 127.0.0.2 is allowed and stands for a public
//! server, 127.0.0.1 is what nobody outside may reach.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod answers;
mod encryption;
mod inward;
mod server;

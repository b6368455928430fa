//! Servers of a test's own, which it may kill, freeze and start again: RabbitMQ, Redis and a MongoDB-protocol server, each with its
//! own ports and directory, on the programs that `scripts/services install` put on this machine.
//!
//! All three have the same verbs:
//!
//! | verb | what it does |
//! | --- | --- |
//! | `X::start()` | a new, empty one; returns when it answers |
//! | `.uri()` | what the product is configured with; the same after every restart |
//! | `.kill()` | SIGKILL to every process of it at once; data stays |
//! | `.stop()` | an orderly end; data stays |
//! | `.restart()` | starts it on the same port and data, stopping it first if it runs; returns when it answers |
//! | `.launch()` | the same without waiting for its answer |
//! | `.freeze()`, `.thaw()` | SIGSTOP, SIGCONT: connections stay open and nothing answers |
//! | `.answers()` | whether it speaks its protocol at this moment |
//! | `.log()` | what it wrote so far |
//!
//! Nothing outlives a test: dropping a server kills it and removes its directory, and when the test's process itself is killed, the
//! server notices by its closed standard input and does the same. The verbs block (seconds at most, usually one; RabbitMQ takes
//! five to start): in an async test on a single thread, call them through `tokio::task::spawn_blocking` or `block_in_place`
//! if something else must go on meanwhile.
//!
//! A missing program fails `start()` and says how to install it.

mod mongo;
mod process;
mod rabbitmq;
mod redis;
mod tree;

pub use mongo::Mongo;
pub use rabbitmq::RabbitMq;
pub use redis::Redis;

/// The verbs every server shares, handed to its [`process::Server`].
macro_rules! verbs {
    ($server:ident) => {
        impl $server {
            /// kill -9 of every process of it.
            pub fn kill(&mut self) -> anyhow::Result<()> {
                self.server.kill()
            }

            /// An orderly end.
            pub fn stop(&mut self) -> anyhow::Result<()> {
                self.server.stop()
            }

            /// Starts it again on the same port and data, and waits until it answers.
            pub fn restart(&mut self) -> anyhow::Result<()> {
                self.server.restart()
            }

            /// Starts it again without waiting for its answer.
            pub fn launch(&mut self) -> anyhow::Result<()> {
                self.server.launch()
            }

            /// SIGSTOP: connections stay open, nothing answers.
            pub fn freeze(&self) -> anyhow::Result<()> {
                self.server.freeze()
            }

            /// SIGCONT.
            pub fn thaw(&self) -> anyhow::Result<()> {
                self.server.thaw()
            }

            /// Whether it speaks its protocol at this moment.
            pub fn answers(&self) -> bool {
                self.server.answers()
            }

            /// What it wrote so far, all restarts included.
            pub fn log(&self) -> String {
                self.server.log()
            }

            /// Where it listens, on 127.0.0.1.
            pub fn port(&self) -> u16 {
                self.server.port()
            }
        }
    };
}
use verbs;

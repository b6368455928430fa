//! A RabbitMQ of a test's own: a node with its own name service, which meets no other node of this machine.

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use super::process::{Kind, Server};
use super::verbs;

/// The answer to the protocol header is a method frame: `connection.start`.
static RABBITMQ: Kind =
    Kind { name: "rabbitmq", ports: 3, ping: b"AMQP\0\0\x09\x01", pong: (0, b"\x01\0\0") };

pub struct RabbitMq {
    server: Server,
}

impl RabbitMq {
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self { server: Server::start(&RABBITMQ)? })
    }

    /// The default virtual host, as guest.
    pub fn uri(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port())
    }

    /// `rabbitmqctl` on this node, e.g. `["close_all_connections", "test"]`; returns what it printed. Takes a second.
    pub fn ctl(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(self.server.dir().join("rabbitmqctl"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .context("can't start rabbitmqctl")?;
        ensure!(output.status.success(), "rabbitmqctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

verbs!(RabbitMq);

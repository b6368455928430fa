//! A Redis of a test's own, append-only: what it answered survives a kill.

use super::process::{Kind, Server};
use super::verbs;

static REDIS: Kind = Kind { name: "redis", ports: 1, ping: b"PING\r\n", pong: (0, b"+PONG") };

pub struct Redis {
    server: Server,
}

impl Redis {
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self { server: Server::start(&REDIS)? })
    }

    pub fn uri(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }
}

verbs!(Redis);

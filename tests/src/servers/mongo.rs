//! A MongoDB-protocol server of a test's own: `mongod`, or FerretDB on PostgreSQL with DocumentDB.

use super::process::{Kind, Server};
use super::verbs;

/// `{ping: 1, $db: "admin"}` as an OP_MSG; the answer is one, too.
const PING: &[u8] = b"\x33\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x1e\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";

static MONGO: Kind = Kind { name: "mongo", ports: 2, ping: PING, pong: (12, b"\xdd\x07\0\0") };

pub struct Mongo {
    server: Server,
}

impl Mongo {
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self { server: Server::start(&MONGO)? })
    }

    /// Without a database: append `/name`.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}", self.port())
    }
}

verbs!(Mongo);

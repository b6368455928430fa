//! Which servers a deployment works with, and its own names at them.

use std::sync::OnceLock;

use crate::servers::{Mongo, RabbitMq, Redis};

/// Where the servers are.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub amqp: String,
    /// Without a database.
    pub mongo: String,
    pub redis: Option<String>,
}

impl Addresses {
    /// Servers of this test process, shared by its tests: nobody kills them, and they end with it.
    pub fn private() -> Self {
        static SERVERS: OnceLock<(RabbitMq, Mongo, Redis)> = OnceLock::new();
        let (rabbit, mongo, redis) = SERVERS.get_or_init(|| {
            let rabbit = RabbitMq::start().expect("a private RabbitMQ");
            let mongo = Mongo::start().expect("a private MongoDB");
            (rabbit, mongo, Redis::start().expect("a private Redis"))
        });
        Self { amqp: rabbit.uri(), mongo: mongo.uri(), redis: Some(redis.uri()) }
    }

    /// Those that tests share (`scripts/services start`).
    pub fn shared() -> Self {
        let named =
            |variable: &str, default: &str| std::env::var(variable).unwrap_or_else(|_| default.to_owned());
        Self {
            amqp: named("GANTRY_TEST_AMQP", "amqp://guest:guest@127.0.0.1:5672/%2f"),
            mongo: named("GANTRY_TEST_MONGO", "mongodb://127.0.0.1:27017"),
            redis: Some(named("GANTRY_TEST_REDIS", "redis://127.0.0.1:6379")),
        }
    }

    /// The store's address, with the deployment's own database.
    pub fn store(&self, names: &OwnNames) -> String {
        with_database(&self.mongo, names.prefix())
    }
}

/// `host:port` of a plain address with one host.
pub fn endpoint(uri: &str) -> Option<&str> {
    let rest = uri.split_once("://")?.1;
    let authority = rest.split(['/', '?']).next()?;
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

/// The same address by way of another host and port.
pub fn through(uri: &str, address: std::net::SocketAddr) -> Option<String> {
    Some(uri.replacen(endpoint(uri)?, &address.to_string(), 1))
}

fn with_database(uri: &str, database: &str) -> String {
    let (before, query) = uri.split_once('?').map_or((uri, None), |(before, query)| (before, Some(query)));
    let (scheme, rest) = before.split_once("://").unwrap_or(("mongodb", before));
    let authority = rest.split('/').next().unwrap_or(rest);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{authority}/{database}{query}")
}

/// A prefix that nobody else uses.
#[derive(Debug, Clone)]
pub struct OwnNames(String);

impl OwnNames {
    pub fn new() -> Self {
        Self(format!("e2e_{:016x}", rand::random::<u64>()))
    }

    pub fn prefix(&self) -> &str {
        &self.0
    }
}

impl Default for OwnNames {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_database_and_keeps_its_options() {
        assert_eq!(with_database("mongodb://a:1", "x"), "mongodb://a:1/x");
        assert_eq!(with_database("mongodb://u:p@a:1/other?tls=true", "x"), "mongodb://u:p@a:1/x?tls=true");
    }

    #[test]
    fn an_address_leads_through_a_line() {
        let line = "127.0.0.1:9".parse().unwrap();
        assert_eq!(through("amqp://g:g@127.0.0.1:5672/%2f", line).unwrap(), "amqp://g:g@127.0.0.1:9/%2f");
        assert_eq!(through("redis://h:1", line).unwrap(), "redis://127.0.0.1:9");
    }
}

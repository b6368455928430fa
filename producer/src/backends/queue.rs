//! What carries messages to workers.

use std::path::PathBuf;

use gantry_service_kit::config::{Secret, Source};

use super::Composition;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueConfig {
    /// Inside this process.
    Embedded,
    /// RabbitMQ.
    Amqp(AmqpConfig),
}

/// A broker that installations may share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmqpConfig {
    /// May name a virtual host.
    pub uri: Secret,
    /// What names of queues and exchanges begin with; the same for all producers and workers of an installation.
    pub prefix: String,
    /// Certificate authorities to trust besides the machine's own.
    pub ca_file: Option<PathBuf>,
}

/// What names begin with when nothing else is said.
pub(super) const DEFAULT_PREFIX: &str = "gantry";

const EXPECTED: &str = "expected amqp://…/VHOST or amqps://…/VHOST";

impl QueueConfig {
    pub(super) fn read(source: &mut Source, composition: Composition<'_>) -> Self {
        let deployment = composition == Composition::Deployment;
        let Some(uri) = source.address("queue") else {
            if deployment {
                source.reject("queue", format!("is required: {EXPECTED}"));
            }
            return Self::Embedded;
        };
        let text = uri.expose().trim();
        if text == "embedded" {
            if deployment {
                source.reject(
                    "queue",
                    format!("the embedded queue reaches no other process; it is for `gantry up`. {EXPECTED}"),
                );
            }
            return Self::Embedded;
        }
        if text.starts_with("amqp://") || text.starts_with("amqps://") {
            return Self::Amqp(AmqpConfig {
                uri: Secret::new(text),
                prefix: source.parse("queue_prefix", DEFAULT_PREFIX.to_owned()),
                ca_file: source.optional("queue_ca_file"),
            });
        }
        let embedded = if deployment { "" } else { ", or embedded" };
        source.reject("queue", format!("{EXPECTED}{embedded}"));
        Self::Embedded
    }
}

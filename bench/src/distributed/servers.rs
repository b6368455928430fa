//! Where the servers of a cluster are: what the environment names, else what `scripts/services` starts.

/// Addresses of the broker, the store and Redis.
pub struct Servers {
    pub amqp: String,
    pub mongo: String,
    pub redis: String,
}

impl Servers {
    pub fn of_environment() -> Self {
        let or = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
        Self {
            amqp: or("GANTRY_TEST_AMQP", "amqp://guest:guest@127.0.0.1:5672/%2f"),
            mongo: or("GANTRY_TEST_MONGO", "mongodb://127.0.0.1:27017"),
            redis: or("GANTRY_TEST_REDIS", "redis://127.0.0.1:6379"),
        }
    }
}

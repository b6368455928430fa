//! A cluster: producers and workers as processes of their own, with RabbitMQ, a MongoDB-protocol store and Redis.

pub mod servers;
pub mod yardsticks;

//! The producer's API and background work, in process, over the real embedded store. One binary: linking is the dear part.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod at_once;
mod broker;
mod deleting;
mod deployment;
mod errors;
mod fairness;
mod fuzz;
mod fuzz_routes;
mod hardening;
mod idempotency;
mod installation;
mod lifecycle;
mod limits;
mod moody_queue;
mod moody_store;
mod people;
mod problem;
mod projects;
mod quotas;
mod races;
mod rate_limits;
mod remembering;
mod server;
mod set_aside;
mod tenancy;
mod worker;

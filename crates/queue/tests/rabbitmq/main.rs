//! RabbitMQ and everything that goes wrong with it, against real servers: one that is shared and must be there, and private
//! ones that tests stop, kill and freeze.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod at_the_broker;
mod broker;
mod encrypted;
mod losing_it;
mod setup;
mod unreachable;
mod unroutable;

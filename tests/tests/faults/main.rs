//! The fault matrix: real producers, real workers and real servers, one of which is always broken. After each fault the
//! invariants of `gantry_tests::faults` are checked. `scripts/faults` runs all of it and prints the summary.
//!
//! `GANTRY_FAULT_ROUNDS` repeats each fault that often (50 is the long form), `GANTRY_FAULT_SEED` repeats its random moments.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod broker;
mod containers;
mod crowds;
mod deployment;
mod followers;
mod network;
mod producers;
mod stores;
mod workers;

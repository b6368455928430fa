//! What runs leave behind, from the worker's upload to what the API shows: with a real store and real blobs.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod hostile;
mod keeping;
mod network;
mod reading;
mod reports;
mod setup;
mod tar_files;

//! What runs leave behind, from the worker's upload to what the API shows: with a real store and real blobs.

mod hostile;
mod keeping;
mod reading;
mod reports;
mod setup;
mod tar_files;

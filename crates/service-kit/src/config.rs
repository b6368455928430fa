//! A service's settings, from an optional TOML file, the environment and command-line flags, read into typed values.
//!
//! All errors are reported at once, each naming where the value came from, before anything is opened or bound: an
//! operator fixes a configuration in one go. A name that nobody asked for is an error too (with the nearest known one),
//! because a mistyped setting that silently does nothing is the worst kind.
//!
//! The key `logs.limit` is `limit` under `[logs]` in the file and `GANTRY_LOGS_LIMIT` in the environment. Flags win
//! over variables, variables over aliases, aliases over the file, the file over defaults. An empty variable counts as
//! not set. A secret may also come from a file named by `GANTRY_…_FILE`.
//!
//! ```
//! use gantry_service_kit::config::Source;
//!
//! let mut source = Source::new([("GANTRY_LISTEN", "0.0.0.0:8080"), ("GANTRY_LOGS_LIMIT", "1MiB")]);
//! source.load_text("gantry.toml", "[logs]\nlimit = \"64MiB\"\n");
//! let listen: std::net::SocketAddr = source.parse("listen", ([127, 0, 0, 1], 8080).into());
//! let limit = source.bytes("logs.limit", 64 << 20);
//! let effective = source.finish()?;
//! assert_eq!((listen.port(), limit), (8080, 1 << 20));
//! println!("{effective}");
//! # Ok::<(), gantry_service_kit::config::ConfigErrors>(())
//! ```

mod report;
mod source;
mod unknown;
mod values;

pub use report::{ConfigError, ConfigErrors, Effective, Origin, Setting};
pub use source::Source;
pub use values::{Secret, parse_bytes, parse_duration, show_address, show_bytes, show_duration};

#[cfg(test)]
mod tests;

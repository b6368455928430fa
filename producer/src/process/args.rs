//! What can be typed behind `gantry-producer`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Serves the API of Gantry and hands runs to workers. Any number of them may share one store.
#[derive(Debug, Parser)]
#[command(
    name = "gantry-producer",
    version,
    max_term_width = 110,
    after_help = "Settings come from GANTRY_* variables or a TOML file; `gantry-producer config check` shows them all."
)]
pub struct Args {
    /// Read settings from a TOML file; GANTRY_* variables win over it [env: GANTRY_CONFIG]
    #[arg(long, global = true, value_name = "FILE", env = "GANTRY_CONFIG", hide_env = true)]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Ask the producer of this machine how it is: exit code 0 when it lives (for health checks of containers)
    Health {
        /// Whether it can serve requests, instead of whether it lives
        #[arg(long)]
        ready: bool,
    },
    /// Print a new API key, for `bootstrap.api_key`
    NewKey,
    /// Print a new token, for `worker_token`
    NewToken,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective configuration, secrets redacted, or everything that is wrong with it
    Check,
}

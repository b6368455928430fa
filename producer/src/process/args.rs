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
    /// Print a new key, for `signing_keys`
    NewSigningKey,
    /// Look after accounts of people, in the store that is configured
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Look after organizations, in the store that is configured
    Organization {
        #[command(subcommand)]
        command: OrganizationCommand,
    },
    /// Print a new key, for `sealing_keys`
    NewSealingKey,
    /// Encrypt anew, under the first of `sealing_keys`, what older keys encrypted; producers and runs may go on meanwhile
    RotateSecrets,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective configuration, secrets redacted, or everything that is wrong with it
    Check,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// End every session and key of somebody, and let him sign in no more
    Disable { email: String },
    /// Let somebody sign in again
    Enable { email: String },
    /// Print a token by which somebody can choose a password; also for an admin who never had one
    ResetPassword { email: String },
}

#[derive(Debug, Subcommand)]
pub enum OrganizationCommand {
    /// Set what an organization may use; what is not named stays, and 0 means as configured
    Limit(LimitArgs),
}

#[derive(Debug, Default, clap::Args)]
pub struct LimitArgs {
    /// `org_…`, as `GET /api/v1/organization` shows it
    pub id: String,
    /// Requests
    #[arg(long, value_name = "N")]
    pub api_per_minute: Option<u32>,
    /// Runs that are created
    #[arg(long, value_name = "N")]
    pub run_creations_per_minute: Option<u32>,
    /// Runs that execute at once
    #[arg(long, value_name = "N")]
    pub concurrent_runs: Option<u32>,
    /// Runs that wait
    #[arg(long, value_name = "N")]
    pub queued_runs: Option<u32>,
    /// Of the artifacts of an attempt
    #[arg(long, value_name = "BYTES")]
    pub artifact_bytes: Option<u64>,
    /// Of the log of an attempt
    #[arg(long, value_name = "BYTES")]
    pub log_bytes: Option<u64>,
}

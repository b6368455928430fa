//! What can be typed behind `gantry`.

mod filters;
mod projects;
mod run;
mod units;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use filters::{RunsArgs, TestsArgs};
pub use projects::{ProjectSettings, ProjectsArgs, ProjectsCommand, SecretsArgs, SecretsCommand};
pub use run::RunArgs;

use crate::run_name::RunName;

/// The hidden command under which the process executor starts this program again.
pub const SHIM: &str = "__shim";

const OVERVIEW: &str = "\
Begin here:
  gantry up                                             start Gantry on this machine
  gantry run --image busybox:1.36 -- sh -c 'echo hi'    run a command and follow its log
  gantry runs                                           see what ran

Commands find the Gantry of this machine; GANTRY_URL and GANTRY_API_KEY point them at another.
Exit codes: 0 done, 1 refused, 2 wrong usage, 69 no server; `gantry run`: the run's own.";

/// Runs containerised automation, reliably, and shows what happened.
#[derive(Debug, Parser)]
#[command(
    name = "gantry",
    bin_name = "gantry",
    version,
    after_help = OVERVIEW,
    disable_help_subcommand = true,
    max_term_width = 110
)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Understood by every command.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalArgs {
    /// A table for people, or JSON for programs [default: table]
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "table|json",
        help_heading = "Everywhere",
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub output: Output,
    /// The server [env: GANTRY_URL; default: the Gantry of this machine]
    #[arg(long, global = true, value_name = "URL", help_heading = "Everywhere")]
    pub url: Option<String>,
    /// A file that holds the API key [env: GANTRY_API_KEY is the key]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    pub api_key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Up(UpArgs),
    Run(Box<RunArgs>),
    Runs(RunsArgs),
    Show(ShowArgs),
    Logs(LogsArgs),
    Cancel(CancelArgs),
    Rerun(RerunArgs),
    Artifacts(ArtifactsArgs),
    Tests(TestsArgs),
    Projects(ProjectsArgs),
    Secrets(SecretsArgs),
    Workers(WorkersArgs),
    Login(LoginArgs),
    Logout(LogoutArgs),
    Whoami(WhoamiArgs),
    Doctor(DoctorArgs),
    Config(ConfigArgs),
    Completion(CompletionArgs),
    Version(VersionArgs),
}

/// Start Gantry on this machine: everything in one process
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  gantry up
  gantry up --listen 127.0.0.1:9000 --data-dir ./gantry-data --executor process

The first start prints how to sign in, once. Stop it with Ctrl-C; what was accepted goes on at
the next start.")]
pub struct UpArgs {
    /// Where everything is kept [env: GANTRY_DATA_DIR; default: ~/.local/share/gantry]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen [env: GANTRY_LISTEN; default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// How runs are carried out: auto, docker or process (commands of this host) [default: auto]
    #[arg(long, value_name = "auto|docker|process")]
    pub executor: Option<String>,
    /// How many runs at once [default: one per core]
    #[arg(long, value_name = "N")]
    pub slots: Option<u32>,
    /// Read settings from a TOML file; flags and GANTRY_* variables win over it [env: GANTRY_CONFIG]
    #[arg(long, value_name = "FILE", env = "GANTRY_CONFIG", hide_env = true)]
    pub config: Option<PathBuf>,
}

/// Sign in to a server: the other commands go there from then on
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry login --url https://gantry.example.com --email ann@example.com
  gantry login --url https://gantry.example.com --key <key.txt

The password is asked for, or read from standard input where nobody types. It is kept nowhere:
what is kept is a session, or the key, in login.json of the data directory, for you alone.")]
pub struct LoginArgs {
    /// With the password of this account; asked for if absent
    #[arg(long, value_name = "ADDRESS", conflicts_with = "key")]
    pub email: Option<String>,
    /// With an API key, read from standard input
    #[arg(long)]
    pub key: bool,
    /// Where to work, by id, for who belongs to several
    #[arg(long, value_name = "ORGANIZATION", conflicts_with = "key")]
    pub organization: Option<String>,
}

/// Sign out: end the session, forget the key
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  gantry logout

A key goes on working elsewhere: `DELETE /api/v1/keys/ID` ends it.")]
pub struct LogoutArgs {}

/// Show who you are to the server, and what you may do there
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  gantry whoami")]
pub struct WhoamiArgs {}

/// Look for weak settings, and say what to do about them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry doctor                 the GANTRY_* variables here, credentials and server of this machine
  gantry doctor --env .env      a deployment, from its file of variables (docker compose, systemd)

Exit code 1 when something is weak.")]
pub struct DoctorArgs {
    /// Look at this file of NAME=VALUE lines, and at nothing else
    #[arg(long, value_name = "FILE")]
    pub env: Option<PathBuf>,
}

/// Show everything about a run
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry show last
  gantry show 42 --output json | jq .exit_code")]
pub struct ShowArgs {
    /// Its number, its id, or `last`
    #[arg(default_value = "last")]
    pub run: RunName,
}

/// Print a run's log
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry logs 42                    what the command printed, byte for byte
  gantry logs -f last               follow it until the run is over
  gantry logs 42 --attempt 1        an earlier attempt")]
pub struct LogsArgs {
    /// Its number, its id, or `last`
    #[arg(default_value = "last")]
    pub run: RunName,
    /// Follow the log until the run is over
    #[arg(long, short)]
    pub follow: bool,
    /// Which attempt; the last by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub attempt: Option<u32>,
    /// Gantry's own lines too: pulling, collecting, why it ended
    #[arg(long)]
    pub system: bool,
}

/// Cancel runs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry cancel last
  gantry cancel 42 43 44")]
pub struct CancelArgs {
    /// Numbers, ids, or `last`
    #[arg(required = true)]
    pub runs: Vec<RunName>,
}

/// Run the same again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry rerun 42               create the new run and print its number
  gantry rerun last --follow    and follow it, as `gantry run` does")]
pub struct RerunArgs {
    /// Its number, its id, or `last`
    #[arg(default_value = "last")]
    pub run: RunName,
    /// Follow the new run and exit with its exit code
    #[arg(long, short)]
    pub follow: bool,
}

/// List a run's artifacts, or download them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry artifacts 42
  gantry artifacts 42 -o ./results
  gantry artifacts last -o ./results playwright-report/index.html")]
pub struct ArtifactsArgs {
    /// Its number, its id, or `last`
    #[arg(default_value = "last")]
    pub run: RunName,
    /// Only these files, or what lies below these directories
    pub paths: Vec<String>,
    /// Download into this directory, which is created if need be
    #[arg(long = "dir", short = 'o', value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Show the workers that execute runs, or let one take no more of them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry workers
  gantry workers drain build-7          it finishes what it has and takes no more
  gantry workers undrain build-7        it takes runs again")]
pub struct WorkersArgs {
    #[command(subcommand)]
    pub command: Option<WorkersCommand>,
}

#[derive(Debug, Subcommand)]
pub enum WorkersCommand {
    /// Let workers finish what they have and take no more
    #[command(after_help = "Example:\n  gantry workers drain build-7")]
    Drain(WorkerNames),
    /// Let draining workers take runs again
    #[command(after_help = "Example:\n  gantry workers undrain build-7")]
    Undrain(WorkerNames),
}

#[derive(Debug, Args)]
pub struct WorkerNames {
    /// Names, or ids (`wrk_…`)
    #[arg(required = true)]
    pub workers: Vec<String>,
}

/// Look at the configuration
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gantry config check --config gantry.toml")]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    Check(ConfigCheckArgs),
}

/// Print the effective configuration of `gantry up`, secrets redacted, and everything that is wrong with it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry config check
  GANTRY_SLOTS=many gantry config check --config gantry.toml")]
pub struct ConfigCheckArgs {
    /// The file to check [env: GANTRY_CONFIG]
    #[arg(long, value_name = "FILE", env = "GANTRY_CONFIG", hide_env = true)]
    pub config: Option<PathBuf>,
}

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry completion bash > ~/.local/share/bash-completion/completions/gantry
  gantry completion zsh > ~/.zfunc/_gantry
  gantry completion fish > ~/.config/fish/completions/gantry.fish")]
pub struct CompletionArgs {
    pub shell: Shell,
}

/// Print the version of this command, and of the server if one answers
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gantry version --output json")]
pub struct VersionArgs {}

#[cfg(test)]
mod tests;

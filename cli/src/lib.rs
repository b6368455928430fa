//! The `gantry` command: `gantry up` is the whole product in one process, and every other command is a client of the
//! public API, so that what works here works against any Gantry, near or far.

pub mod args;
mod commands;
mod connection;
mod data_dir;
mod doctor;
mod failure;
mod login;
mod run_name;
mod terminal;
pub mod up;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command, SHIM};
use failure::Failure;

/// Reads the arguments, does what they say, and tells how it went.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == SHIM) {
        return gantry_executor::process::shim::main(args);
    }
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let mut runtime = match cli.command {
        Command::Up(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    let code = runtime.block_on(Box::pin(commands::dispatch(cli)));
    // A blocked read of the terminal must not keep the process alive.
    runtime.shutdown_background();
    code
}

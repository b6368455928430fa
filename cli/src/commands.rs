//! One command, one file.

mod artifacts;
mod cancel;
mod completion;
mod config;
mod doctor;
mod follow;
mod log_view;
mod login;
mod logout;
mod logs;
mod projects;
mod rerun;
mod run;
mod runs;
mod secrets;
mod show;
mod summary;
mod tests;
mod version;
mod whoami;
mod workers;

use std::process::ExitCode;

use gantry_domain::time::{Clock as _, SystemClock, Timestamp};

use crate::args::{Cli, Command, ConfigCommand};
use crate::connection::connect;
use crate::failure::Failure;

/// Does what was asked.
pub async fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let global = &cli.global;
    let output = global.output;
    match cli.command {
        Command::Up(args) => return Ok(Box::pin(crate::up::run(args)).await?),
        Command::Run(args) => return run::run(&*connect(global).await?, output, &args).await,
        Command::Runs(args) => runs::run(&*connect(global).await?, output, &args).await?,
        Command::Show(args) => show::run(&*connect(global).await?, output, &args).await?,
        Command::Logs(args) => logs::run(&*connect(global).await?, output, &args).await?,
        Command::Cancel(args) => cancel::run(&*connect(global).await?, output, &args).await?,
        Command::Rerun(args) => return rerun::run(&*connect(global).await?, output, &args).await,
        Command::Artifacts(args) => artifacts::run(&*connect(global).await?, output, &args).await?,
        Command::Tests(args) => tests::run(&*connect(global).await?, output, &args).await?,
        Command::Projects(args) => projects::run(&*connect(global).await?, output, args.command).await?,
        Command::Secrets(args) => secrets::run(&*connect(global).await?, output, args.command).await?,
        Command::Workers(args) => workers::run(&*connect(global).await?, output, args.command).await?,
        Command::Login(args) => login::run(global, &args).await?,
        Command::Logout(_) => logout::run().await?,
        Command::Whoami(_) => whoami::run(&*connect(global).await?, output).await?,
        Command::Doctor(args) => return doctor::run(global, &args).await,
        Command::Config(args) => match args.command {
            ConfigCommand::Check(args) => return config::check(output, &args),
        },
        Command::Completion(args) => completion::run(args.shell)?,
        Command::Version(_) => version::run(global).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn now() -> Timestamp {
    SystemClock.now()
}

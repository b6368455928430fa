//! `gantry config check`: what `gantry up` would run with.

use std::io::Write as _;
use std::process::ExitCode;

use crate::args::{ConfigCheckArgs, Output};
use crate::failure::Failure;
use crate::terminal::json;
use crate::terminal::style::{BOLD, RED, RESET};
use crate::up;

pub fn check(output: Output, args: &ConfigCheckArgs) -> Result<ExitCode, Failure> {
    let (effective, errors) = up::config::check(args.config.as_deref());
    if output == Output::Json {
        json::print(&serde_json::json!({ "effective": effective, "errors": errors }))?;
    } else {
        write!(anstream::stdout().lock(), "{effective}")?;
        let mut out = anstream::stderr().lock();
        for error in &errors {
            writeln!(out, "{RED}{BOLD}error:{RESET} {error}")?;
        }
    }
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

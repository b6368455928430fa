//! `gantry doctor`: what is weak, and what to do about it.

use std::io::Write as _;
use std::process::ExitCode;

use crate::args::{DoctorArgs, GlobalArgs, Output};
use crate::connection::{connect, local_dir};
use crate::doctor::settings::{Settings, judge};
use crate::doctor::{Finding, Level, server};
use crate::failure::Failure;
use crate::terminal::json;
use crate::terminal::style::{GREEN, RED, RESET, YELLOW};

pub async fn run(global: &GlobalArgs, args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let mut settings = Settings::default();
    match &args.env {
        Some(file) => settings
            .add_environment_file(file)
            .map_err(|error| Failure::usage(format!("{} can't be read: {error}", file.display())))?,
        None => settings.add_variables(std::env::vars()),
    }
    let mut found = judge(&settings);
    if args.env.is_none() {
        found.extend(server::files(&local_dir()));
        // Without a server there are only settings to look at.
        if let Ok(client) = connect(global).await {
            found.extend(server::judge(&client).await);
        }
    }
    // Worst first, otherwise as they were looked at.
    found.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let weak = found.iter().filter(|finding| finding.level == Level::Weak).count();
    match global.output {
        Output::Json => json::print(&found)?,
        Output::Table => show(&found, weak)?,
    }
    Ok(if weak == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(found: &[Finding], weak: usize) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    for finding in found {
        let (colour, sign) = match finding.level {
            Level::Weak => (RED, "weak"),
            Level::Mind => (YELLOW, "mind"),
            Level::Good => (GREEN, "good"),
        };
        writeln!(out, "{colour}{sign}{RESET}  {}: {}", finding.what, finding.says)?;
        if let Some(advice) = finding.advice {
            writeln!(out, "      {advice}")?;
        }
    }
    match weak {
        0 => writeln!(out, "\nNothing weak was found.")?,
        1 => writeln!(out, "\nOne thing is weak.")?,
        many => writeln!(out, "\n{many} things are weak.")?,
    }
    Ok(())
}

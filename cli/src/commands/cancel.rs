//! `gantry cancel`: ask runs to end.

use std::io::Write as _;

use gantry_client::ApiClient;

use crate::args::{CancelArgs, Output};
use crate::failure::Failure;
use crate::run_name::RunName;
use crate::terminal::json;
use crate::terminal::style::words;

/// Each for itself: one that cannot be cancelled keeps no other from it.
pub async fn run(client: &ApiClient, output: Output, args: &CancelArgs) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for &name in &args.runs {
        match cancel(client, output, name).await {
            Err(Failure::NobodyReads) => return Err(Failure::NobodyReads),
            Err(failure) => failed.push(failure),
            Ok(()) => {}
        }
    }
    let last = failed.pop();
    for failure in failed {
        failure.report();
    }
    last.map_or(Ok(()), Err)
}

async fn cancel(client: &ApiClient, output: Output, name: RunName) -> Result<(), Failure> {
    let run = client.cancel_run(name.id(client).await?).await?;
    if output == Output::Json {
        return json::print_line(&run);
    }
    let mut out = anstream::stdout().lock();
    if run.status.is_final() {
        writeln!(out, "#{} is {}.", run.number, words(run.status))?;
    } else {
        writeln!(out, "#{} is being cancelled.", run.number)?;
    }
    Ok(())
}

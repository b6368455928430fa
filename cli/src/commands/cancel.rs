//! `gantry cancel`: ask runs to end.

use std::io::Write as _;

use gantry_client::ApiClient;

use crate::args::{CancelArgs, Output};
use crate::failure::Failure;
use crate::terminal::json;
use crate::terminal::style::words;

pub async fn run(client: &ApiClient, output: Output, args: &CancelArgs) -> Result<(), Failure> {
    for name in &args.runs {
        let run = client.cancel_run(name.id(client).await?).await?;
        if output == Output::Json {
            json::print_line(&run)?;
            continue;
        }
        let mut out = anstream::stdout().lock();
        if run.status.is_final() {
            writeln!(out, "#{} is {}.", run.number, words(run.status))?;
        } else {
            writeln!(out, "#{} is being cancelled.", run.number)?;
        }
    }
    Ok(())
}

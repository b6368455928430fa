//! `gantry rerun`: the same again.

use std::process::ExitCode;

use gantry_client::ApiClient;

use super::follow::{Interrupts, Presentation, to_the_end};
use super::run::{accepted, created, own_key};
use crate::args::{Output, RerunArgs};
use crate::failure::Failure;

pub async fn run(client: &ApiClient, output: Output, args: &RerunArgs) -> Result<ExitCode, Failure> {
    let mut interrupts = Interrupts::listen()?;
    let work = async {
        let original = args.run.id(client).await?;
        let key = own_key();
        accepted(|| client.rerun(original, Some(&key))).await
    };
    let run = tokio::select! {
        run = work => run?,
        () = interrupts.next() => return Ok(ExitCode::from(130)),
    };
    if args.follow {
        let presentation = Presentation { output, quiet: false };
        return to_the_end(client, &run, presentation, &mut interrupts).await;
    }
    created(output, &run)?;
    Ok(ExitCode::SUCCESS)
}

//! `gantry run`: create, follow, exit as the run did.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use gantry_api_types::run::Run;
use gantry_client::{ApiClient, ClientError, RetryPolicy, TransportError, retry};
use tokio::time::Instant;

use super::follow::{Interrupts, Presentation, to_the_end};
use crate::args::{Output, RunArgs};
use crate::failure::Failure;
use crate::terminal::json;

/// For a server that restarts just now.
const ACCEPT_WITHIN: Duration = Duration::from_secs(30);

pub async fn run(client: &ApiClient, output: Output, args: &RunArgs) -> Result<ExitCode, Failure> {
    let mut interrupts = Interrupts::listen()?;
    let here = std::env::current_dir()?;
    let key = args.idempotency_key.clone().unwrap_or_else(own_key);
    let request = args.request(&here);
    let run = tokio::select! {
        run = accepted(|| client.create_run(&request, Some(&key))) => run?,
        // Whether it was accepted is unknown, as with any command that is killed.
        () = interrupts.next() => return Ok(ExitCode::from(130)),
    };
    if args.detach {
        created(output, &run)?;
        return Ok(ExitCode::SUCCESS);
    }
    let presentation = Presentation { output, quiet: args.quiet };
    to_the_end(client, &run, presentation, &mut interrupts).await
}

/// Says which run there is now: its id alone on stdout, for scripts.
pub fn created(output: Output, run: &Run) -> Result<(), Failure> {
    if output == Output::Json {
        return json::print(run);
    }
    writeln!(std::io::stdout().lock(), "{}", crate::terminal::text::line(&run.id))?;
    let mut out = anstream::stderr().lock();
    writeln!(out, "Created run #{0}. Follow it: gantry logs -f {0}", run.number)?;
    Ok(())
}

/// Makes a request safe to repeat when its answer is lost.
pub fn own_key() -> String {
    format!("cli-{:032x}", rand::random::<u128>())
}

/// Asks again, under the same key, while a server restarts or its answer is lost.
pub async fn accepted<F>(ask: impl Fn() -> F) -> Result<Run, Failure>
where
    F: Future<Output = Result<Run, ClientError>>,
{
    let first = match ask().await {
        Ok(run) => return Ok(run),
        Err(error) => error,
    };
    // Nobody there at all: a person wants to know at once.
    let nobody = matches!(first, ClientError::Transport(TransportError::Connect { .. }));
    if nobody || !first.is_retryable() {
        return Err(first.into());
    }
    let deadline = Instant::now() + ACCEPT_WITHIN;
    Ok(retry(RetryPolicy::default(), deadline, ask).await?)
}

//! `gantry logs`: what a run printed.

use std::io::Write as _;

use futures::{StreamExt as _, TryStreamExt as _};
use gantry_api_types::log::Stream;
use gantry_client::{ApiClient, LogItem, LogPosition, LogQuery};
use gantry_domain::id::RunId;

use super::follow::RECONNECTING;
use super::log_view::{LogView, Target};
use crate::args::{LogsArgs, Output};
use crate::failure::Failure;
use crate::run_name::id_of;
use crate::terminal::json;

pub async fn run(client: &ApiClient, output: Output, args: &LogsArgs) -> Result<(), Failure> {
    if args.follow {
        return follow(client, output, args, args.run.id(client).await?).await;
    }
    if output == Output::Json {
        let run = args.run.find(client).await?;
        if !run.status.is_final() {
            return Err(Failure::usage(format!("Run #{} is still going on.", run.number))
                .hint("Add --follow to get its log as JSON lines until it ends."));
        }
        return follow(client, output, args, id_of(&run)?).await;
    }
    let query = LogQuery { attempt: args.attempt, system: args.system };
    let mut bytes = client.logs(args.run.id(client).await?, query, None).await?;
    let mut out = std::io::stdout().lock();
    while let Some(piece) = bytes.try_next().await? {
        out.write_all(&piece)?;
    }
    Ok(out.flush()?)
}

async fn follow(client: &ApiClient, output: Output, args: &LogsArgs, run: RunId) -> Result<(), Failure> {
    let from = args.attempt.map(|attempt| LogPosition { attempt, offset: 0 });
    let items = client.follow(run, from);
    futures::pin_mut!(items);
    let mut view = LogView::new(Target::Stdout, args.system);
    while let Some(item) = items.next().await.transpose()? {
        match item {
            LogItem::Log(piece) if piece.stream == Stream::System && !args.system => {}
            LogItem::Log(piece) if output == Output::Json => json::print_line(&piece)?,
            LogItem::Log(piece) => view.piece(piece.stream, &piece.bytes().unwrap_or_default())?,
            // An earlier attempt was asked for, and this is the next one.
            LogItem::Attempt(_) if args.attempt.is_some() => break,
            LogItem::Attempt(number) => view.say(&format!("Attempt {number}"))?,
            LogItem::Interrupted(_) => {
                view.begin_line()?;
                writeln!(anstream::stderr().lock(), "{RECONNECTING}")?;
            }
            LogItem::End(_) => break,
        }
    }
    Ok(())
}

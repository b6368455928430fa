//! Measures what Gantry promises about speed, each figure beside the physical floor measured in the same run on the same
//! machine. Rounds of everything are interleaved, so that a noisy minute hits all of them; medians and ranges are shown.
//!
//! `scripts/bench` builds and runs it. Results go to `bench/results/`.

mod accept;
mod child;
mod containers;
mod distributed;
mod followers;
mod idle;
mod load;
mod logs;
mod peers;
mod report;
mod samples;
mod stored;
mod storm;
mod work;
mod yardsticks;

use std::path::PathBuf;

use clap::Parser;
use gantry_tests::Installation;

use report::Document;
use samples::Series;

/// What to measure, and how often.
#[derive(Debug, Parser)]
#[command(name = "gantry-bench")]
struct Args {
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Only rows whose group contains this; nothing is written then. Embedded: accept, throughput, containers, logs, followers,
    /// stored, storm, pending, idle, start. Distributed: load, cancel, restart, followers, idle. Peers: a part of their names.
    #[arg(long, default_value = "")]
    only: String,
    /// Measure producers and workers with RabbitMQ, a MongoDB-protocol store and Redis, instead of `gantry up`.
    #[arg(long)]
    distributed: bool,
    /// Measure other systems that take jobs, in the same rounds; with or without --distributed.
    #[arg(long)]
    peers: bool,
    /// Where results are written.
    #[arg(long, default_value = "bench/results")]
    out: PathBuf,
    /// The page of the documentation whose tables and chart are written anew.
    #[arg(long)]
    page: Option<PathBuf>,
    /// Measure nothing: print, and write to the page, what this file has.
    #[arg(long, value_name = "FILE")]
    render: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(file) = &args.render {
        return show(&Document::read(file)?, &args);
    }
    let mut document = Document::of_commit(&args.out)?;
    let (part, series) = if args.distributed || args.peers {
        ("distributed", distributed::measure(&args).await?)
    } else {
        ("embedded", embedded(&args).await?)
    };
    if !args.only.is_empty() {
        document.parts_only(part);
    }
    document.add(part, args.rounds, series)?;
    if args.only.is_empty() {
        document.save(&args.out)?;
    }
    show(&document, &args)
}

#[expect(clippy::print_stdout, reason = "the tables are the output")]
fn show(document: &Document, args: &Args) -> anyhow::Result<()> {
    println!("\n{}", document.tables().trim_end());
    match &args.page {
        Some(page) if args.only.is_empty() => document.write_page(page),
        _ => Ok(()),
    }
}

impl Args {
    fn wants(&self, group: &str) -> bool {
        self.only.is_empty() || group.contains(&self.only)
    }
}

async fn embedded(args: &Args) -> anyhow::Result<Series> {
    let mut series = Series::default();
    for round in 1..=args.rounds {
        report::say(&format!("round {round} of {}", args.rounds));
        yardsticks::measure(&mut series).await?;
        if args.wants("accept") || args.wants("throughput") {
            let installation =
                Installation::new("fake")?.set("GANTRY_SLOTS", "128").set("GANTRY_LOG_FILTER", "warn");
            let up = installation.up()?;
            if args.wants("accept") {
                accept::measure(&up, &mut series).await?;
            }
            if args.wants("throughput") {
                load::measure(&up, &mut series).await?;
            }
            up.stop()?;
        }
        if args.wants("containers") {
            containers::measure(&mut series).await?;
        }
        if args.wants("logs") {
            logs::measure(&mut series).await?;
        }
        if args.wants("storm") {
            storm::measure(&mut series).await?;
        }
        if args.wants("followers") {
            followers::measure(&mut series).await?;
        }
        if args.wants("start") {
            idle::start(&mut series).await?;
        }
        if args.wants("pending") {
            load::pending(&mut series).await?;
        }
    }
    if args.wants("idle") {
        idle::measure(&mut series).await?;
    }
    if args.wants("stored") {
        stored::measure(&mut series).await?;
    }
    Ok(series)
}

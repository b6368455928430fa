//! Measures what Gantry promises about speed, each figure beside the physical floor measured in the same run on the same
//! machine. Rounds of everything are interleaved, so that a noisy minute hits all of them; medians and ranges are shown.
//!
//! `scripts/bench` builds and runs it. Results go to `bench/results/`.

mod accept;
mod child;
mod distributed;
mod containers;
mod followers;
mod idle;
mod load;
mod logs;
mod peers;
mod report;
mod samples;
mod stored;
mod work;
mod yardsticks;

use clap::Parser;
use gantry_tests::Installation;

use report::Report;
use samples::Series;

/// What to measure, and how often.
#[derive(Debug, Parser)]
#[command(name = "gantry-bench")]
struct Args {
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Only rows whose group contains this: accept, throughput, containers, logs, followers, stored, pending, idle, start.
    #[arg(long, default_value = "")]
    only: String,
    /// Measure the peers.
    #[arg(long)]
    peers: bool,
    /// Where results are written.
    #[arg(long, default_value = "bench/results")]
    out: std::path::PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let wanted = |group: &str| args.only.is_empty() || group.contains(&args.only);
    let report = Report::new(args.rounds);
    let mut series = Series::default();

    if args.peers {
        let servers = distributed::servers::Servers::of_environment();
        distributed::yardsticks::measure(&servers, &mut series).await?;
        let peers = peers::Peers::new("amqp://guest:guest@127.0.0.1:5672//")?;
        for peer in peers::Peer::ALL {
            peers.measure(peer, &mut series).await?;
        }
        for (name, values) in series.all() {
            report::say(&format!("{name}: {values:?}"));
        }
        return Ok(());
    }
    for round in 1..=args.rounds {
        report::say(&format!("round {round} of {}", args.rounds));
        yardsticks::measure(&mut series).await?;
        if wanted("accept") || wanted("throughput") {
            let installation =
                Installation::new("fake")?.set("GANTRY_SLOTS", "128").set("GANTRY_LOG_FILTER", "warn");
            let up = installation.up()?;
            if wanted("accept") {
                accept::measure(&up, &mut series).await?;
            }
            if wanted("throughput") {
                load::measure(&up, &mut series).await?;
            }
            up.stop()?;
        }
        if wanted("containers") {
            containers::measure(&mut series).await?;
        }
        if wanted("logs") {
            logs::measure(&mut series).await?;
        }
        if wanted("followers") {
            followers::measure(&mut series).await?;
        }
        if wanted("start") {
            idle::start(&mut series).await?;
        }
        if wanted("pending") {
            load::pending(&mut series).await?;
        }
    }
    if wanted("idle") {
        idle::measure(&mut series).await?;
    }
    if wanted("stored") {
        stored::measure(&mut series).await?;
    }
    report.finish(&series, &args.out)
}

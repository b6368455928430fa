//! A cluster: producers and workers as processes of their own, with RabbitMQ, a MongoDB-protocol store and Redis.

mod load;
mod servers;
mod signals;
mod watching;
mod yardsticks;

use gantry_tests::cluster::Addresses;

use crate::Args;
use crate::peers::{Peer, Peers};
use crate::report::say;
use crate::samples::Series;

/// Rounds of the cluster and of its peers, interleaved.
pub async fn measure(args: &Args) -> anyhow::Result<Series> {
    let addresses = Addresses::shared();
    let peers = if args.peers { Some(Peers::new(&addresses.amqp)?) } else { None };
    let wants = |group: &str| args.distributed && args.wants(group);
    let mut series = Series::default();
    for round in 1..=args.rounds {
        say(&format!("round {round} of {}", args.rounds));
        crate::yardsticks::measure(&mut series).await?;
        yardsticks::measure(&addresses, &mut series).await?;
        if wants("load") {
            say("  load");
            load::measure(&addresses, &mut series).await?;
        }
        for peer in Peer::ALL {
            if let Some(peers) = &peers
                && (args.only.is_empty() || peer.name().contains(&args.only))
            {
                say(&format!("  {}", peer.name()));
                peers.measure(peer, &mut series).await?;
            }
        }
        if wants("cancel") {
            say("  cancel");
            signals::cancel(&addresses, &mut series).await?;
        }
        if wants("restart") {
            say("  restart");
            signals::restart(&addresses, &mut series).await?;
        }
        if wants("followers") {
            say("  followers");
            watching::followers(&addresses, &mut series).await?;
        }
    }
    if wants("idle") {
        say("idle");
        watching::idle(&addresses, &mut series).await?;
    }
    Ok(series)
}

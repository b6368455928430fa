//! Fair turns: every pool and organization has a lane with a virtual time, which counts the turns it had. The active lane
//! with the least virtual time goes next. A lane that wakes up starts where the others are: idling earns nothing.
//!
//! A lane sleeps only once it was found without a ready run, so that a run handed out and not dispatched after all is
//! found again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rusqlite::{Connection, OptionalExtension, params};

use super::row::{Id, Stored};
use super::statements as sql;
use super::writer::Writing;
use crate::Result;
use crate::aside::Aside;

/// Where a lane stands during one call; ordered by whose turn it is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Lane {
    vtime: i64,
    organization: Id,
    /// The last run handed out in this call: its turn and id.
    last: Option<(u8, Id)>,
}

/// Up to `limit` ready runs of the pool in fair order.
pub(super) fn ready(writing: &mut Writing<'_>, aside: &Aside, pool: &str, limit: u32) -> Result<Vec<Stored>> {
    let mut picked = Vec::new();
    let mut known: BinaryHeap<Reverse<Lane>> = BinaryHeap::new();
    let mut unseen = next_lane(writing.connection, pool, None)?;
    while picked.len() < limit as usize {
        let unseen_first = match (&unseen, known.peek()) {
            (Some(unseen), Some(Reverse(known))) => unseen <= known,
            (unseen, _) => unseen.is_some(),
        };
        let lane = if unseen_first { unseen.take() } else { known.pop().map(|Reverse(lane)| lane) };
        let Some(mut lane) = lane else { break };
        if unseen_first {
            unseen = next_lane(writing.connection, pool, Some(&lane))?;
        }
        match head(writing.connection, aside, pool, &lane)? {
            Some((run, turn)) => {
                lane.vtime += 1;
                lane.last = Some((turn, run.id));
                picked.push(run);
                known.push(Reverse(lane));
            }
            // All of its runs are in `picked`.
            None if lane.last.is_some() => store(writing.connection, pool, &lane, true)?,
            None => {
                store(writing.connection, pool, &lane, false)?;
                writing.ledger.lane_sleeps(pool, lane.organization);
            }
        }
    }
    for Reverse(lane) in known {
        store(writing.connection, pool, &lane, true)?;
    }
    Ok(picked)
}

/// The lane behind `after`, by the stored virtual times. A lane that was seen is stored only when it stands before the
/// next unseen one, or at the end: none is met twice.
fn next_lane(connection: &Connection, pool: &str, after: Option<&Lane>) -> Result<Option<Lane>> {
    let (vtime, organization) = after.map_or((-1, [0; 16]), |lane| (lane.vtime, lane.organization));
    let mut statement = connection.prepare_cached(sql::NEXT_LANE)?;
    let lane = statement.query_row(params![pool, vtime, organization], |row| {
        Ok(Lane { vtime: row.get(0)?, organization: row.get(1)?, last: None })
    });
    Ok(lane.optional()?)
}

/// The lane's next run, apart from those that are set aside.
fn head(connection: &Connection, aside: &Aside, pool: &str, lane: &Lane) -> Result<Option<(Stored, u8)>> {
    let (mut turn, mut id) = lane.last.map_or((-1, [0; 16]), |(turn, id)| (i16::from(turn), id));
    let mut statement = connection.prepare_cached(sql::LANE_HEAD)?;
    loop {
        let found: Option<(Stored, u8)> = statement
            .query_row(params![pool, lane.organization, turn, id], |row| {
                Ok((Stored::read(row)?, row.get(6)?))
            })
            .optional()?;
        match found {
            Some((run, at)) if aside.knows(&run.subject()) => (turn, id) = (i16::from(at), run.id),
            found => return Ok(found),
        }
    }
}

fn store(connection: &Connection, pool: &str, lane: &Lane, active: bool) -> Result<()> {
    let values = params![pool, lane.organization, lane.vtime, active];
    connection.prepare_cached(sql::MOVE_LANE)?.execute(values)?;
    Ok(())
}

//! Fair turns, as in every backend: a lane per pool and organization with a virtual time that counts its turns, the least
//! goes next. Turns are counted only while lanes compete: who works alone neither earns nor owes.
//!
//! An awake lane is looked at in every call. One found without a run is marked idle: coming back it starts where the
//! others are. One that stays so for a while, untouched, falls asleep (see `wakes`).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{StreamExt as _, TryStreamExt as _, iter};
use gantry_domain::run::Run;
use mongodb::bson::{Document, RawDocument, doc};

use super::calls::{Call, Statement};
use super::document::{number, text, turn};
use super::find::Wanted;
use super::options::relaxed;
use super::wakes::{Lane, WATCHED_FOR};
use super::{Core, names};
use crate::Result;

/// Awake lanes that one call looks at, least virtual time first.
const LANES: i64 = 2000;
/// Above this many idle lanes one query asks which of them have a run at all.
const FEW: usize = 8;
/// Lanes asked for their heads at the same time.
const TOGETHER: usize = 16;
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Organizations that one sweep looks at; the next one goes on behind them.
const SWEPT: usize = 500;

/// What this process watches: lanes that may fall asleep, and when it last swept.
#[derive(Default)]
pub(super) struct Watch {
    idle: Mutex<HashMap<String, (u64, Instant)>>,
    swept: Mutex<HashMap<String, (Instant, String)>>,
}

/// An awake lane, as stored.
struct Stored {
    id: String,
    organization: String,
    vtime: i64,
    idle: bool,
    touched: u64,
}

impl Stored {
    fn of(document: &RawDocument) -> Result<Self> {
        Ok(Self {
            id: text(document, "_id")?.to_owned(),
            organization: text(document, "organization")?.to_owned(),
            vtime: number(document, "vtime")? as i64,
            idle: document.get_bool("idle").unwrap_or(false),
            touched: number(document, "touched")?,
        })
    }
}

/// A lane during one call; ordered by whose turn it is.
struct Turn {
    vtime: i64,
    lane: Stored,
    heads: VecDeque<Run>,
    at_end: bool,
    last: Option<(i32, String)>,
    picked: bool,
}

impl Turn {
    fn may_have_runs(&self) -> bool {
        !self.heads.is_empty() || !self.at_end
    }

    fn key(&self) -> (i64, &str) {
        (self.vtime, &self.lane.organization)
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Turn {}
impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Turn {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Up to `wanted` ready runs of the pool in fair order.
pub(super) async fn ready(core: &Core, watch: &Watch, pool: &str, wanted: usize) -> Result<Vec<Run>> {
    let call = core.call();
    sweep(core, watch, &call, pool).await?;
    let lanes = awake_lanes(core, &call, pool).await?;
    let (idle, active): (Vec<_>, Vec<_>) = lanes.into_iter().partition(|lane| lane.idle);
    let (looked_at, mut asleep) = with_runs(core, &call, pool, idle).await?;
    let first = wanted.min(active.len());
    let each = wanted.div_ceil((first + looked_at.len()).max(1)) + 1;
    let turns: Vec<(usize, Turn)> = active.into_iter().chain(looked_at).enumerate().map(new_turn).collect();
    let mut turns: Vec<Turn> = iter(turns)
        .map(async |(position, mut turn)| {
            if position < first || turn.lane.idle {
                fill(core, &call, pool, &mut turn, each).await?;
            }
            Ok::<_, crate::StoreError>(turn)
        })
        .buffered(TOGETHER)
        .try_collect()
        .await?;

    // Who comes back starts where those who stayed are.
    let stayed = |turn: &&Turn| !turn.lane.idle && turn.may_have_runs();
    let clock = turns.iter().filter(stayed).map(|turn| turn.vtime).min();
    for turn in turns.iter_mut().filter(|turn| turn.lane.idle) {
        turn.vtime = turn.vtime.max(clock.unwrap_or(0));
    }
    let contenders = turns.iter().filter(|turn| turn.may_have_runs()).count();

    let (mut picked, mut moves) = (Vec::new(), Vec::new());
    let mut heap: BinaryHeap<_> = turns.into_iter().map(Reverse).collect();
    while picked.len() < wanted
        && let Some(Reverse(mut turn)) = heap.pop()
    {
        if turn.heads.is_empty() && !turn.at_end {
            fill(core, &call, pool, &mut turn, (wanted - picked.len()).min(each * 4)).await?;
        }
        match turn.heads.pop_front() {
            Some(run) => {
                turn.vtime += 1;
                turn.picked = true;
                picked.push(run);
                heap.push(Reverse(turn));
            }
            None if turn.picked => moves.extend(moved(&turn, contenders)),
            None if turn.lane.idle => asleep.push(turn.lane),
            None => moves.push(fell_idle(&turn.lane)),
        }
    }
    moves.extend(
        heap.iter().filter(|Reverse(turn)| turn.picked).filter_map(|Reverse(turn)| moved(turn, contenders)),
    );
    moves.extend(watch.may_sleep(pool, &asleep, Instant::now()));
    if !moves.is_empty() {
        moves.sort_by_cached_key(|statement| statement.filter.get_str("_id").unwrap_or_default().to_owned());
        core.update(&call, names::LANES, &moves, &relaxed()).await?;
    }
    Ok(picked)
}

fn new_turn((position, lane): (usize, Stored)) -> (usize, Turn) {
    let turn =
        Turn { vtime: lane.vtime, lane, heads: VecDeque::new(), at_end: false, last: None, picked: false };
    (position, turn)
}

fn moved(turn: &Turn, contenders: usize) -> Option<Statement> {
    let lane = &turn.lane;
    (contenders > 1).then(|| Statement {
        filter: doc! { "_id": &lane.id, "vtime": lane.vtime },
        update: doc! { "$set": { "vtime": turn.vtime, "idle": false } },
    })
}

fn fell_idle(lane: &Stored) -> Statement {
    Statement {
        filter: doc! { "_id": &lane.id, "vtime": lane.vtime, "idle": false },
        update: doc! { "$set": { "idle": true } },
    }
}

async fn awake_lanes(core: &Core, call: &Call, pool: &str) -> Result<Vec<Stored>> {
    let lanes = core.raw(names::LANES);
    let query = || async {
        lanes
            .find(doc! { "pool": pool, "awake": true })
            .sort(doc! { "idle": 1, "vtime": 1 })
            .limit(LANES)
            .await
    };
    call.all(query, |_| false).await?.iter().map(|lane| Stored::of(lane)).collect()
}

/// Idle lanes that have a run, and those that have none. Few are not asked: their heads are fetched anyway.
async fn with_runs(
    core: &Core,
    call: &Call,
    pool: &str,
    idle: Vec<Stored>,
) -> Result<(Vec<Stored>, Vec<Stored>)> {
    if idle.len() <= FEW {
        return Ok((idle, Vec::new()));
    }
    let runs = core.raw(names::RUNS);
    let (mut without, mut with) = (idle, Vec::new());
    loop {
        let organizations: Vec<_> = without.iter().map(|lane| lane.organization.as_str()).collect();
        let filter = doc! { "ready": pool, "organization": { "$in": organizations } };
        let found = call
            .run(|| async {
                runs.find_one(filter.clone())
                    .projection(doc! { "organization": 1 })
                    .hint(super::schema::READY.hint())
                    .await
            })
            .await?;
        let Some(found) = found else { return Ok((with, without)) };
        let organization = text(&found, "organization")?;
        let Some(position) = without.iter().position(|lane| lane.organization == organization) else {
            return Ok((with, without));
        };
        with.push(without.swap_remove(position));
    }
}

/// Fetches the lane's next runs.
async fn fill(core: &Core, call: &Call, pool: &str, turn: &mut Turn, count: usize) -> Result<()> {
    let mut filter = doc! { "ready": pool, "organization": &turn.lane.organization };
    if let Some((after, id)) = &turn.last {
        filter.insert("turn", doc! { "$gte": after });
        filter
            .insert("$or", [doc! { "turn": { "$gt": after } }, doc! { "turn": after, "_id": { "$gt": id } }]);
    }
    let wanted = Wanted { filter, sort: doc! { "turn": 1, "_id": 1 }, index: super::schema::READY };
    let (runs, at_end) = core.find_some(call, &wanted, count as u32).await?;
    turn.at_end = at_end;
    if let Some(run) = runs.last() {
        turn.last = Some((turn_of(run), run.id.to_string()));
    }
    turn.heads.extend(runs);
    Ok(())
}

fn turn_of(run: &Run) -> i32 {
    turn(run.spec.priority)
}

impl Watch {
    /// Which of the lanes that have no run have been so for long, and were not touched meanwhile.
    fn may_sleep(&self, pool: &str, without_runs: &[Stored], now: Instant) -> Vec<Statement> {
        let prefix = format!("{pool}/");
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|id, _| !id.starts_with(&prefix) || without_runs.iter().any(|lane| lane.id == *id));
        let mut sleep = Vec::new();
        for lane in without_runs {
            let (touched, since) = idle.entry(lane.id.clone()).or_insert((lane.touched, now));
            if *touched != lane.touched {
                (*touched, *since) = (lane.touched, now);
            } else if now.duration_since(*since) >= WATCHED_FOR {
                sleep.push(Statement {
                    filter: doc! {
                        "_id": &lane.id, "awake": true, "idle": true, "touched": lane.touched as i64,
                    },
                    update: doc! { "$set": { "awake": false } },
                });
            }
        }
        sleep
    }

    /// Where the next sweep begins, if it is time for one.
    fn sweep_from(&self, pool: &str) -> Option<String> {
        let swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        match swept.get(pool) {
            None => Some(String::new()),
            Some((at, _)) if at.elapsed() < SWEEP_EVERY => None,
            Some((_, after)) => Some(after.clone()),
        }
    }

    fn swept_to(&self, pool: &str, after: String) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        swept.insert(pool.to_owned(), (Instant::now(), after));
    }
}

/// Wakes lanes that have runs all the same.
async fn sweep(core: &Core, watch: &Watch, call: &Call, pool: &str) -> Result<()> {
    let Some(mut after) = watch.sweep_from(pool) else { return Ok(()) };
    let (runs, lanes) = (core.raw(names::RUNS), core.raw(names::LANES));
    for _ in 0..SWEPT {
        let filter = doc! { "ready": pool, "organization": { "$gt": &after } };
        let next = call
            .run(|| async {
                runs.find_one(filter.clone())
                    .sort(doc! { "ready": 1, "organization": 1, "turn": 1, "_id": 1 })
                    .projection(doc! { "organization": 1 })
                    .hint(super::schema::READY.hint())
                    .await
            })
            .await?;
        let Some(next) = next else {
            after.clear();
            break;
        };
        after = text(&next, "organization")?.to_owned();
        let lane = Lane { pool: pool.to_owned(), organization: after.clone() };
        let asleep: Document = doc! { "_id": lane.id(), "awake": true };
        if call.run(|| async { lanes.find_one(asleep.clone()).await }).await?.is_none() {
            tracing::info!(pool, org.id = %after, "a sleeping lane had runs");
            core.touch(call, &lane).await?;
        }
    }
    watch.swept_to(pool, after);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(organization: &str, touched: u64) -> Stored {
        let id = format!("default/{organization}");
        Stored { id, organization: organization.to_owned(), vtime: 3, idle: true, touched }
    }

    #[test]
    fn a_lane_sleeps_after_it_was_watched_without_a_run_and_without_a_touch() {
        let (watch, begun) = (Watch::default(), Instant::now());
        let sleeps =
            |after: Duration, lanes: &[Stored]| watch.may_sleep("default", lanes, begun + after).len();
        let second = Duration::from_secs(1);
        assert_eq!(sleeps(Duration::ZERO, &[lane("a", 1), lane("b", 1)]), 0);
        assert_eq!(sleeps(WATCHED_FOR - second, &[lane("a", 1), lane("b", 1)]), 0);
        // Somebody is about to make a run ready in the second one.
        assert_eq!(sleeps(WATCHED_FOR, &[lane("a", 1), lane("b", 2)]), 1);
        assert_eq!(sleeps(WATCHED_FOR * 2 - second, &[lane("b", 2)]), 0);
        assert_eq!(sleeps(WATCHED_FOR * 2, &[lane("b", 2)]), 1);
        // It had a run in between: its time begins anew.
        assert_eq!(sleeps(WATCHED_FOR * 2, &[]), 0);
        assert_eq!(sleeps(WATCHED_FOR * 4, &[lane("b", 2)]), 0);
    }
}

//! What the writer remembers so that the hot path need not ask the database: run numbers, depths of the pools, which
//! lanes are active, and what the present transaction changes about groups. It is only a memory: everything in it can be
//! counted again from the rows, and is, at start and when somebody else wrote to the file.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gantry_domain::run::RunStatus;
use rusqlite::{Connection, OptionalExtension, params};

use super::row::{Id, status_code};
use super::statements as sql;
use crate::Result;

/// Runs of one organization in one pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Depth {
    pub pending: u64,
    pub queued: u64,
    pub running: u64,
}

impl Depth {
    fn of(&mut self, status: RunStatus) -> Option<&mut u64> {
        match status {
            RunStatus::Pending => Some(&mut self.pending),
            RunStatus::Queued => Some(&mut self.queued),
            RunStatus::Running | RunStatus::Analyzing => Some(&mut self.running),
            _ => None,
        }
    }
}

/// Depths by pool and organization; only what is committed.
#[derive(Debug, Default)]
pub(super) struct Depths(Mutex<HashMap<String, HashMap<Id, Depth>>>);

impl Depths {
    pub fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<Id, Depth>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run's status and group.
pub(super) type Standing<'a> = (RunStatus, Option<&'a str>);

/// A run came, went, or went from one status to another.
struct Move {
    pool: String,
    organization: Id,
    from: Option<RunStatus>,
    to: Option<RunStatus>,
}

#[derive(Default)]
pub(super) struct Ledger {
    depths: Arc<Depths>,
    numbers: HashMap<Id, u64>,
    active_lanes: HashMap<String, HashSet<Id>>,
    // Of the present transaction:
    moves: Vec<Move>,
    new_numbers: HashMap<Id, u64>,
    groups: HashMap<(Id, String), HashMap<u8, i64>>,
}

impl Ledger {
    pub fn depths(&self) -> Arc<Depths> {
        Arc::clone(&self.depths)
    }

    /// The organization's next run number.
    pub fn next_number(&mut self, connection: &Connection, organization: Id) -> Result<u64> {
        let number = self.last_number(connection, organization)? + 1;
        self.new_numbers.insert(organization, number);
        Ok(number)
    }

    /// Notes that an imported run brings its number.
    pub fn use_number(&mut self, connection: &Connection, organization: Id, number: u64) -> Result<()> {
        if number > self.last_number(connection, organization)? {
            self.new_numbers.insert(organization, number);
        }
        Ok(())
    }

    fn last_number(&mut self, connection: &Connection, organization: Id) -> Result<u64> {
        let known = self.new_numbers.get(&organization).or_else(|| self.numbers.get(&organization));
        if let Some(number) = known {
            return Ok(*number);
        }
        let stored = connection
            .prepare_cached(sql::LAST_NUMBER)?
            .query_row([organization], |row| row.get(0))
            .optional()?
            .unwrap_or(0);
        self.numbers.insert(organization, stored);
        Ok(stored)
    }

    /// Counts a run that came (`from` is none), went (`to` is none), or stands elsewhere now.
    pub fn count(
        &mut self,
        organization: Id,
        pool: &str,
        from: Option<Standing<'_>>,
        to: Option<Standing<'_>>,
    ) {
        if from == to {
            return;
        }
        let status = |standing: Option<Standing<'_>>| standing.map(|(status, _)| status);
        self.moves.push(Move { pool: pool.to_owned(), organization, from: status(from), to: status(to) });
        for (standing, by) in [(from, -1), (to, 1)] {
            if let Some((status, Some(group))) = standing {
                let counts = self.groups.entry((organization, group.to_owned())).or_default();
                *counts.entry(status_code(status)).or_default() += by;
            }
        }
    }

    /// Makes sure that dispatching looks at this lane.
    pub fn activate_lane(&mut self, connection: &Connection, pool: &str, organization: Id) -> Result<()> {
        if self.active_lanes.get(pool).is_some_and(|lanes| lanes.contains(&organization)) {
            return Ok(());
        }
        connection.prepare_cached(sql::ACTIVATE_LANE)?.execute(params![pool, organization])?;
        self.active_lanes.entry(pool.to_owned()).or_default().insert(organization);
        Ok(())
    }

    /// Notes that a lane has no ready run.
    pub fn lane_sleeps(&mut self, pool: &str, organization: Id) {
        if let Some(lanes) = self.active_lanes.get_mut(pool) {
            lanes.remove(&organization);
        }
    }

    /// Writes what was only remembered; last in every transaction.
    pub fn write_down(&mut self, connection: &Connection) -> Result<()> {
        for (organization, number) in &self.new_numbers {
            connection.prepare_cached(sql::SET_LAST_NUMBER)?.execute(params![organization, number])?;
        }
        for ((organization, group), counts) in &self.groups {
            let mut shrunk = false;
            for (status, by) in counts.iter().filter(|(_, by)| **by != 0) {
                connection.prepare_cached(sql::COUNT_IN_GROUP)?.execute(params![
                    organization,
                    group,
                    status,
                    by
                ])?;
                shrunk |= *by < 0;
            }
            if shrunk {
                connection.prepare_cached(sql::FORGET_EMPTY_GROUP)?.execute(params![organization, group])?;
            }
        }
        Ok(())
    }

    pub fn committed(&mut self) {
        self.numbers.extend(self.new_numbers.drain());
        self.groups.clear();
        let mut depths = self.depths.lock();
        for Move { pool, organization, from, to } in self.moves.drain(..) {
            let lanes = match depths.get_mut(&pool) {
                Some(lanes) => lanes,
                None => depths.entry(pool.clone()).or_default(),
            };
            let depth = lanes.entry(organization).or_default();
            if let Some(count) = from.and_then(|status| depth.of(status)) {
                *count = count.saturating_sub(1);
            }
            if let Some(count) = to.and_then(|status| depth.of(status)) {
                *count += 1;
            }
            if *depth == Depth::default() {
                lanes.remove(&organization);
            }
            if lanes.is_empty() {
                depths.remove(&pool);
            }
        }
    }

    pub fn rolled_back(&mut self) {
        self.moves.clear();
        self.new_numbers.clear();
        self.groups.clear();
        // Lanes may have been activated by what is undone: ask the database again.
        self.active_lanes.clear();
    }

    /// Counts everything again.
    pub fn reload(&mut self, connection: &Connection) -> Result<()> {
        self.rolled_back();
        self.numbers.clear();
        let mut counted: HashMap<String, HashMap<Id, Depth>> = HashMap::new();
        let mut waiting = connection.prepare_cached(sql::COUNT_WAITING)?;
        let mut rows = waiting.query([])?;
        while let Some(row) = rows.next()? {
            let depth = counted.entry(row.get(0)?).or_default().entry(row.get(1)?).or_default();
            let (both, queued): (u64, u64) = (row.get(2)?, row.get(3)?);
            (depth.pending, depth.queued) = (both.saturating_sub(queued), queued);
        }
        let mut leased = connection.prepare_cached(sql::COUNT_LEASED)?;
        let mut rows = leased.query([])?;
        while let Some(row) = rows.next()? {
            counted.entry(row.get(0)?).or_default().entry(row.get(1)?).or_default().running = row.get(2)?;
        }
        *self.depths.lock() = counted;
        Ok(())
    }
}

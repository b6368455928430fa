//! Lists of runs and groups. A list is driven by the index that fits its narrowest filter, one source per wanted value,
//! merged by id; what the index does not decide is looked at run by run, within a bound.

use std::collections::VecDeque;

use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::{Run, RunStatus};
use gantry_domain::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::row::{Id, Stored, key, run_id, status_code, status_of};
use super::statements as sql;
use crate::aside::Aside;
use crate::selection::{Columns, Field, LOOKED_AT, Rest, SKEW, statuses};
use crate::{Group, ListFilter, Page, Result, StoreError};

/// Rows fetched at once while looking.
const STRIDE: usize = 256;

/// One page of an organization's runs.
pub(super) fn runs(
    connection: &Connection,
    aside: &Aside,
    organization: OrganizationId,
    filter: &ListFilter,
    after: Option<RunId>,
    limit: u32,
) -> Result<Page<Run, RunId>> {
    // All sources are read in one snapshot: no run is met twice or missed because it moves between them.
    let snapshot = connection.unchecked_transaction()?;
    let limit = limit.max(1) as usize;
    let mut page = Page { items: Vec::new(), next: None };
    let Some(below) = upper_end(&snapshot, organization, filter, after)? else { return Ok(page) };
    let mut merged = Merged::of(filter, organization, below, limit);
    let rest = Rest::of(filter, merged.decides);
    let mut looked_at = 0;
    while let Some(candidate) = merged.next(&snapshot)? {
        if filter.created_from.is_some_and(|from| candidate.created_at < from - SKEW) {
            return Ok(page);
        }
        let id = candidate.stored.id;
        if let Some(run) = fitting(aside, &rest, candidate)? {
            page.items.push(run);
        }
        looked_at += 1;
        if page.items.len() >= limit || looked_at >= LOOKED_AT {
            if merged.next(&snapshot)?.is_some() {
                page.next = Some(run_id(id));
            }
            return Ok(page);
        }
    }
    Ok(page)
}

/// Ids below this can be on the page; `None` when no id can.
fn upper_end(
    connection: &Connection,
    organization: OrganizationId,
    filter: &ListFilter,
    after: Option<RunId>,
) -> Result<Option<Id>> {
    let after = after.map_or(u128::MAX, RunId::as_u128);
    let Some(before) = filter.created_before else { return Ok(Some(key(after))) };
    let newest: Option<Id> = connection
        .prepare_cached(sql::NEWEST_BEFORE)?
        .query_row(params![key(organization.as_u128()), (before + SKEW).as_millis()], |row| row.get(0))
        .optional()?;
    Ok(newest.map(|id| key(after.min(u128::from_be_bytes(id).saturating_add(1)))))
}

fn query(field: Field) -> &'static str {
    match field {
        Field::None => sql::LIST_ALL,
        Field::Status => sql::LIST_STATUS,
        Field::Project => sql::LIST_PROJECT,
        Field::Environment => sql::LIST_ENVIRONMENT,
        Field::Group => sql::LIST_GROUP,
    }
}

/// One source per distinct value.
fn values(field: Field, filter: &ListFilter) -> Vec<Option<Value>> {
    let texts = |texts: &[String]| {
        let distinct: std::collections::BTreeSet<_> = texts.iter().cloned().collect();
        distinct.into_iter().map(|text| Some(Value::Text(text))).collect()
    };
    match field {
        Field::None => vec![None],
        Field::Status => {
            statuses(filter).map(|status| Some(Value::Integer(status_code(status).into()))).collect()
        }
        Field::Project => texts(&filter.projects),
        Field::Environment => texts(&filter.environments),
        Field::Group => texts(&filter.groups),
    }
}

/// A row that an index offers, not yet decoded.
struct Candidate {
    stored: Stored,
    status: u8,
    project: Option<String>,
    environment: Option<String>,
    group: Option<String>,
    created_at: Timestamp,
}

/// Sources merged, newest first.
struct Merged {
    decides: Field,
    organization: Id,
    stride: usize,
    sources: Vec<Source>,
}

/// The runs of one value, fetched some at a time.
struct Source {
    value: Option<Value>,
    below: Id,
    fetched: VecDeque<Candidate>,
    at_end: bool,
}

impl Merged {
    fn of(filter: &ListFilter, organization: OrganizationId, below: Id, limit: usize) -> Self {
        let decides = Field::of(filter);
        let sources = values(decides, filter).into_iter();
        let alone = Rest::of(filter, decides).is_nothing();
        Self {
            decides,
            organization: key(organization.as_u128()),
            stride: if alone { limit.saturating_add(1).min(STRIDE) } else { STRIDE },
            sources: sources
                .map(|value| Source { value, below, fetched: VecDeque::new(), at_end: false })
                .collect(),
        }
    }

    fn next(&mut self, connection: &Connection) -> Result<Option<Candidate>> {
        let (query, organization, stride) = (query(self.decides), self.organization, self.stride);
        for source in &mut self.sources {
            source.fill(connection, query, organization, stride)?;
        }
        let newest = self.sources.iter_mut().max_by_key(|source| source.fetched.front().map(|c| c.stored.id));
        Ok(newest.and_then(|source| source.fetched.pop_front()))
    }
}

impl Source {
    fn fill(&mut self, connection: &Connection, query: &str, organization: Id, stride: usize) -> Result<()> {
        if self.at_end || !self.fetched.is_empty() {
            return Ok(());
        }
        let stride_value = i64::try_from(stride).unwrap_or(i64::MAX);
        let mut values = vec![
            Value::Blob(organization.to_vec()),
            Value::Blob(self.below.to_vec()),
            Value::Integer(stride_value),
        ];
        values.extend(self.value.clone());
        let mut statement = connection.prepare_cached(query)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            self.fetched.push_back(Candidate {
                stored: Stored::read(row)?,
                status: row.get(6)?,
                project: row.get(7)?,
                environment: row.get(8)?,
                group: row.get(9)?,
                created_at: Timestamp::from_millis(row.get(10)?),
            });
        }
        self.at_end = self.fetched.len() < stride;
        if let Some(last) = self.fetched.back() {
            self.below = last.stored.id;
        }
        Ok(())
    }
}

/// The run, if it fits; decoded only when its columns do.
fn fitting(aside: &Aside, rest: &Rest<'_>, candidate: Candidate) -> Result<Option<Run>> {
    let columns = Columns {
        status: status_of(candidate.status)?,
        project: candidate.project.as_deref(),
        environment: candidate.environment.as_deref(),
        group: candidate.group.as_deref(),
        created_at: candidate.created_at,
    };
    if !rest.columns_fit(&columns) {
        return Ok(None);
    }
    let run = candidate.stored.sift(aside)?;
    Ok(run.filter(|run| rest.run_fits(run)))
}

/// One page of an organization's groups.
pub(super) fn groups(
    connection: &Connection,
    organization: OrganizationId,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<Group, String>> {
    let snapshot = connection.unchecked_transaction()?;
    let organization = key(organization.as_u128());
    let limit = limit.max(1) as usize;
    // A group has at most one row per status; one more row tells whether there is another group.
    let rows_needed = limit.saturating_mul(RunStatus::ALL.len()).saturating_add(1);
    let mut statement = snapshot.prepare_cached(sql::GROUPS)?;
    let mut rows = statement.query(params![organization, after.unwrap_or(""), rows_needed as i64])?;
    let mut page: Page<Group, String> = Page { items: Vec::new(), next: None };
    while let Some(row) = rows.next()? {
        let (name, status, runs): (String, u8, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if page.items.last().is_none_or(|group| group.name != name) {
            if page.items.len() == limit {
                page.next = page.items.last().map(|group| group.name.clone());
                break;
            }
            let last_created_at = last_created(&snapshot, organization, &name)?;
            page.items.push(Group { name, runs: 0, by_status: Vec::new(), last_created_at });
        }
        if let Some(group) = page.items.last_mut().filter(|_| runs > 0) {
            group.runs += runs;
            group.by_status.push((status_of(status)?, runs));
        }
    }
    Ok(page)
}

fn last_created(connection: &Connection, organization: Id, group: &str) -> Result<Timestamp> {
    let found = connection
        .prepare_cached(sql::GROUP_LAST_CREATED)?
        .query_row(params![organization, group], |row| row.get(0))
        .optional()?;
    found
        .map(Timestamp::from_millis)
        .ok_or_else(|| StoreError::Corrupt(format!("group {group:?} counts runs that are not there")))
}

//! Lists of runs: sources merged as in every backend, each served by its own index. There is no snapshot across sources;
//! a run that moves between two of them meanwhile is shown once at most.

use std::collections::{BTreeSet, VecDeque};

use futures::future::try_join_all;
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::Run;
use mongodb::bson::{RawDocumentBuf, doc};

use super::Core;
use super::calls::Call;
use super::document::{id_of, integer, projection, status_of, text, time, time_of};
use super::find::Wanted;
use super::schema::{BY_CREATED, BY_ENVIRONMENT, BY_GROUP, BY_ORGANIZATION, BY_PROJECT, BY_STATUS, Index};
use crate::selection::{Columns, Field, LOOKED_AT, Rest, SKEW, statuses};
use crate::{ListFilter, Page, Result};

/// Runs fetched at once while looking, at first and at most.
const STRIDE: usize = 256;
const MAX_STRIDE: usize = 2048;

/// One page of an organization's runs.
pub(super) async fn runs(
    core: &Core,
    organization: OrganizationId,
    filter: &ListFilter,
    after: Option<RunId>,
    limit: u32,
) -> Result<Page<Run, RunId>> {
    let call = core.call();
    let limit = limit.max(1) as usize;
    let mut page = Page { items: Vec::new(), next: None };
    let Some(below) = upper_end(core, &call, organization, filter, after).await? else { return Ok(page) };
    let mut merged = Merged::of(core, filter, organization, below, limit);
    let rest = Rest::of(filter, merged.decides);
    let mut looked_at = 0;
    while let Some(candidate) = merged.next(&call).await? {
        if filter.created_from.is_some_and(|from| candidate.too_old(from)) {
            return Ok(page);
        }
        let id = candidate.id;
        if let Some(run) = candidate.fitting(core, &rest)? {
            page.items.push(run);
        }
        looked_at += 1;
        if page.items.len() >= limit || looked_at >= LOOKED_AT {
            if merged.next(&call).await?.is_some() {
                page.next = Some(id);
            }
            return Ok(page);
        }
    }
    Ok(page)
}

/// Ids below this can be on the page, any without one; `None` when no id can.
async fn upper_end(
    core: &Core,
    call: &Call,
    organization: OrganizationId,
    filter: &ListFilter,
    after: Option<RunId>,
) -> Result<Option<Option<RunId>>> {
    let Some(before) = filter.created_before else { return Ok(Some(after)) };
    let wanted = Wanted {
        filter: doc! { "organization": organization.to_string(), "created_at": { "$lt": time(before + SKEW) } },
        sort: doc! { "organization": -1, "created_at": -1, "_id": -1 },
        index: BY_CREATED,
    };
    let newest = core.find_documents(call, &wanted, doc! { "_id": 1 }, 1).await?;
    let Some(newest) = newest.first() else { return Ok(None) };
    let end = RunId::from_u128(id_of(newest)?.as_u128().saturating_add(1));
    Ok(Some(Some(after.map_or(end, |after| after.min(end)))))
}

/// The field's name and index.
fn driver(field: Field) -> (&'static str, Index) {
    match field {
        Field::None => ("", BY_ORGANIZATION),
        Field::Status => ("status", BY_STATUS),
        Field::Project => ("project", BY_PROJECT),
        Field::Environment => ("environment", BY_ENVIRONMENT),
        Field::Group => ("group", BY_GROUP),
    }
}

/// One source per distinct value.
fn values(field: Field, filter: &ListFilter) -> BTreeSet<Option<String>> {
    let texts = |texts: &[String]| texts.iter().cloned().map(Some).collect();
    match field {
        Field::None => BTreeSet::from([None]),
        Field::Status => statuses(filter).map(|status| Some(status.as_str().to_owned())).collect(),
        Field::Project => texts(&filter.projects),
        Field::Environment => texts(&filter.environments),
        Field::Group => texts(&filter.groups),
    }
}

/// A run that an index offers, not yet decoded.
struct Candidate {
    id: RunId,
    document: RawDocumentBuf,
}

impl Candidate {
    fn too_old(&self, from: gantry_domain::time::Timestamp) -> bool {
        time_of(&self.document, "created_at").is_ok_and(|created| created < from - SKEW)
    }

    /// The run, if it fits; decoded only when its columns do.
    fn fitting(&self, core: &Core, rest: &Rest<'_>) -> Result<Option<Run>> {
        let document = &self.document;
        let columns = Columns {
            status: status_of(document)?,
            project: text(document, "project").ok(),
            environment: text(document, "environment").ok(),
            group: text(document, "group").ok(),
            created_at: time_of(document, "created_at")?,
        };
        if !rest.columns_fit(&columns) {
            return Ok(None);
        }
        let run = core.sift(document)?;
        Ok(run.filter(|run| rest.run_fits(run)))
    }
}

/// Sources merged, newest first.
struct Merged<'a> {
    core: &'a Core,
    decides: Field,
    organization: String,
    stride: usize,
    grows: bool,
    sources: Vec<Source>,
    last: Option<RunId>,
}

/// The runs of one value, fetched some at a time.
struct Source {
    value: Option<String>,
    below: Option<RunId>,
    fetched: VecDeque<Candidate>,
    at_end: bool,
}

impl<'a> Merged<'a> {
    fn of(
        core: &'a Core,
        filter: &ListFilter,
        organization: OrganizationId,
        below: Option<RunId>,
        limit: usize,
    ) -> Self {
        let decides = Field::of(filter);
        let alone = Rest::of(filter, decides).is_nothing();
        let source = |value| Source { value, below, fetched: VecDeque::new(), at_end: false };
        Self {
            core,
            decides,
            organization: organization.to_string(),
            stride: if alone { limit.saturating_add(1).min(STRIDE) } else { STRIDE },
            grows: !alone,
            sources: values(decides, filter).into_iter().map(source).collect(),
            last: None,
        }
    }

    async fn next(&mut self, call: &Call) -> Result<Option<Candidate>> {
        loop {
            self.fill(call).await?;
            let newest = self.sources.iter_mut().max_by_key(|source| source.fetched.front().map(|c| c.id));
            let Some(candidate) = newest.and_then(|source| source.fetched.pop_front()) else {
                return Ok(None);
            };
            // One that moved to another source meanwhile was shown already.
            if self.last.is_none_or(|last| candidate.id < last) {
                self.last = Some(candidate.id);
                return Ok(Some(candidate));
            }
        }
    }

    async fn fill(&mut self, call: &Call) -> Result<()> {
        let (name, index) = driver(self.decides);
        let (core, organization, stride) = (self.core, &self.organization, self.stride);
        let empty = self.sources.iter_mut().filter(|source| source.fetched.is_empty() && !source.at_end);
        let fetched =
            try_join_all(empty.map(|source| source.fill(core, call, name, index, organization, stride)));
        if !fetched.await?.is_empty() && self.grows {
            self.stride = (self.stride * 2).min(MAX_STRIDE);
        }
        Ok(())
    }
}

impl Source {
    async fn fill(
        &mut self,
        core: &Core,
        call: &Call,
        name: &str,
        index: Index,
        organization: &str,
        stride: usize,
    ) -> Result<()> {
        let (mut filter, mut sort) = (doc! { "organization": organization }, doc! { "organization": -1 });
        if let Some(value) = &self.value {
            filter.insert(name, value);
            sort.insert(name, -1);
        }
        if let Some(below) = self.below {
            filter.insert("_id", doc! { "$lt": below.to_string() });
        }
        sort.insert("_id", -1);
        let mut fields = projection();
        fields.extend(doc! { "status": 1, "project": 1, "environment": 1, "group": 1, "created_at": 1 });
        let found = core
            .find_documents(call, &Wanted { filter, sort, index }, fields, integer(stride as u64))
            .await?;
        self.at_end = found.len() < stride;
        for document in found {
            self.fetched.push_back(Candidate { id: id_of(&document)?, document });
        }
        if let Some(last) = self.fetched.back() {
            self.below = Some(last.id);
        }
        Ok(())
    }
}

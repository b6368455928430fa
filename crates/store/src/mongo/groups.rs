//! Groups are counted when they are asked for, from an index that holds everything needed: a counter of their own would
//! cost every run of a group two more writes per step, and would not survive a crash between the two.

use std::collections::BTreeMap;

use gantry_domain::id::OrganizationId;
use gantry_domain::run::RunStatus;
use mongodb::bson::{RawDocumentBuf, doc};

use super::calls::Call;
use super::document::{number, text, time_of};
use super::find::Wanted;
use super::schema::BY_GROUP;
use super::{Core, names};
use crate::{Group, Page, Result, StoreError};

/// One page of an organization's groups.
pub(super) async fn groups(
    core: &Core,
    organization: OrganizationId,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<Group, String>> {
    let call = core.call();
    let organization = organization.to_string();
    let limit = limit.max(1) as usize;
    let (mut names, mut after) = (Vec::new(), after.unwrap_or("").to_owned());
    while names.len() <= limit
        && let Some(name) = next_name(core, &call, &organization, &after).await?
    {
        after.clone_from(&name);
        names.push(name);
    }
    let more = names.len() > limit;
    names.truncate(limit);
    let mut page = Page { items: count(core, &call, &organization, names).await?, next: None };
    if more {
        page.next = page.items.last().map(|group| group.name.clone());
    }
    Ok(page)
}

async fn next_name(core: &Core, call: &Call, organization: &str, after: &str) -> Result<Option<String>> {
    let wanted = Wanted {
        filter: doc! { "organization": organization, "group": { "$gt": after } },
        sort: doc! { "organization": 1, "group": 1, "_id": 1 },
        index: BY_GROUP,
    };
    let found = core.find_documents(call, &wanted, doc! { "group": 1 }, 1).await?;
    found.first().map(|run| text(run, "group").map(str::to_owned)).transpose()
}

async fn count(core: &Core, call: &Call, organization: &str, names: Vec<String>) -> Result<Vec<Group>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let pipeline = [
        doc! { "$match": { "organization": organization, "group": { "$in": &names } } },
        doc! { "$group": {
            "_id": { "group": "$group", "status": "$status" },
            "runs": { "$sum": 1 },
            "newest": { "$max": "$_id" },
        } },
    ];
    let rows = core.aggregate(call, names::RUNS, &pipeline, &BY_GROUP).await?;
    let mut counted: BTreeMap<String, (String, Vec<(RunStatus, u64)>)> = BTreeMap::new();
    for row in &rows {
        let unreadable = |_| StoreError::Corrupt("a count of a group cannot be read".to_owned());
        let key = row.get_document("_id").map_err(unreadable)?;
        let (newest, by_status) = counted.entry(text(key, "group")?.to_owned()).or_default();
        let status = RunStatus::parse(text(key, "status")?)
            .ok_or_else(|| StoreError::Corrupt("a run has an unknown status".to_owned()))?;
        by_status.push((status, number(row, "runs")?));
        let candidate = text(row, "newest")?;
        if candidate > newest.as_str() {
            *newest = candidate.to_owned();
        }
    }
    let newest: Vec<_> = counted.values().map(|(newest, _)| newest.as_str()).collect();
    let runs = core.raw(names::RUNS);
    let query =
        || async { runs.find(doc! { "_id": { "$in": &newest } }).projection(doc! { "created_at": 1 }).await };
    let created: Vec<RawDocumentBuf> = call.all(query, |_| false).await?;
    let created: BTreeMap<_, _> = created
        .iter()
        .filter_map(|run| Some((text(run, "_id").ok()?, time_of(run, "created_at").ok()?)))
        .collect();
    let mut groups = Vec::new();
    for (name, (newest, mut by_status)) in counted {
        // Deleted while it was counted: so is the count.
        let Some(last_created_at) = created.get(newest.as_str()).copied() else { continue };
        by_status.sort_by_key(|(status, _)| RunStatus::ALL.iter().position(|known| known == status));
        groups.push(Group {
            runs: by_status.iter().map(|(_, runs)| runs).sum(),
            name,
            by_status,
            last_created_at,
        });
    }
    Ok(groups)
}

//! What a list shows, whatever the backend: the index that fits the narrowest filter drives it, and what that does not
//! decide is looked at run by run, within a bound.

use std::time::Duration;

use gantry_domain::run::{Run, RunStatus};
use gantry_domain::time::Timestamp;

use crate::ListFilter;

/// Runs that one page looks at when an index does not decide.
pub(crate) const LOOKED_AT: usize = 10_000;
/// Ids sort as `created_at` does, but for runs closer together than this: producers' clocks differ.
pub(crate) const SKEW: Duration = Duration::from_secs(3600);

/// Which field's index drives the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    None,
    Status,
    Project,
    Environment,
    Group,
}

impl Field {
    /// The one expected to leave the fewest runs: few are ever not over; groups are smaller than projects.
    pub fn of(filter: &ListFilter) -> Self {
        let unfinished = |name: &&str| RunStatus::parse(name).is_some_and(|status| !status.is_final());
        if !filter.statuses.is_empty() && filter.statuses.iter().all(unfinished) {
            Self::Status
        } else if !filter.groups.is_empty() {
            Self::Group
        } else if !filter.projects.is_empty() {
            Self::Project
        } else if !filter.environments.is_empty() {
            Self::Environment
        } else if !filter.statuses.is_empty() {
            Self::Status
        } else {
            Self::None
        }
    }
}

pub(crate) fn statuses(filter: &ListFilter) -> impl Iterator<Item = RunStatus> + '_ {
    filter.statuses.iter().filter_map(|name| RunStatus::parse(name))
}

/// What can be checked before a run is decoded.
pub(crate) struct Columns<'a> {
    pub status: RunStatus,
    pub project: Option<&'a str>,
    pub environment: Option<&'a str>,
    pub group: Option<&'a str>,
    pub created_at: Timestamp,
}

/// What the driving index leaves to be checked.
pub(crate) struct Rest<'a> {
    filter: &'a ListFilter,
    decided: Field,
    text: Option<String>,
}

impl<'a> Rest<'a> {
    pub fn of(filter: &'a ListFilter, decided: Field) -> Self {
        Self { filter, decided, text: filter.text.as_ref().map(|text| text.to_lowercase()) }
    }

    pub fn is_nothing(&self) -> bool {
        let filter = self.filter;
        let left = |field: Field, is_empty: bool| field != self.decided && !is_empty;
        !(left(Field::Status, filter.statuses.is_empty())
            || left(Field::Project, filter.projects.is_empty())
            || left(Field::Environment, filter.environments.is_empty())
            || left(Field::Group, filter.groups.is_empty())
            || !filter.triggers.is_empty()
            || !filter.labels.is_empty()
            || filter.created_from.is_some()
            || filter.created_before.is_some()
            || filter.text.is_some())
    }

    pub fn columns_fit(&self, columns: &Columns<'_>) -> bool {
        let filter = self.filter;
        let one_of = |wanted: &[String], value: Option<&str>| {
            wanted.is_empty() || value.is_some_and(|value| wanted.iter().any(|wanted| wanted == value))
        };
        let created = columns.created_at;
        (filter.statuses.is_empty() || filter.statuses.contains(columns.status.as_str()))
            && one_of(&filter.projects, columns.project)
            && one_of(&filter.environments, columns.environment)
            && one_of(&filter.groups, columns.group)
            && filter.created_from.is_none_or(|from| created >= from)
            && filter.created_before.is_none_or(|before| created < before)
    }

    /// Whether a run whose columns fit fits in everything else.
    pub fn run_fits(&self, run: &Run) -> bool {
        let filter = self.filter;
        (filter.triggers.is_empty() || filter.triggers.contains(&run.trigger.kind))
            && filter.labels.iter().all(|(name, value)| run.spec.labels.get(name) == Some(value))
            && self.text.as_ref().is_none_or(|text| mentions(run, text))
    }
}

/// Whether the run's id, number, image, command, project or group contains `text`, which is in lower case.
fn mentions(run: &Run, text: &str) -> bool {
    let contains = |part: &str| part.to_lowercase().contains(text);
    contains(&run.id.to_string())
        || run.number.to_string().contains(text)
        || run.spec.image.as_deref().is_some_and(contains)
        || run.spec.command.as_ref().is_some_and(|words| contains(&words.join(" ")))
        || run.spec.project.as_deref().is_some_and(contains)
        || run.spec.group.as_deref().is_some_and(contains)
}

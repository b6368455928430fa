//! How people name a run: by number (`42`, `#42`), by id, or `last`.

use std::str::FromStr;

use gantry_api_types::run::Run;
use gantry_client::{ApiClient, RunFilter};
use gantry_domain::id::RunId;

use crate::failure::Failure;

/// A run as it was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunName {
    Id(RunId),
    Number(u64),
    Last,
}

impl FromStr for RunName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "last" {
            return Ok(Self::Last);
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let number = text.strip_prefix('#').unwrap_or(text).parse::<u64>();
        number.ok().filter(|&number| number > 0).map(Self::Number).ok_or_else(|| {
            "name a run by its number (42 or #42), its whole id (run_…), or `last`; `gantry runs` lists them".to_owned()
        })
    }
}

impl RunName {
    /// The run as it stands now.
    pub async fn find(self, client: &ApiClient) -> Result<Run, Failure> {
        match self {
            Self::Id(id) => Ok(client.get_run(id).await?),
            Self::Last => {
                let filter = RunFilter { limit: Some(1), ..RunFilter::default() };
                let newest = client.list_runs(&filter).await?.items.into_iter().next();
                let newest = newest.ok_or_else(|| {
                    Failure::refused("There is no run yet.")
                        .hint("Create one: gantry run --image busybox:1.36 -- echo hi")
                })?;
                // The list leaves out what only the detail has.
                Ok(client.get_run(id_of(&newest)?).await?)
            }
            Self::Number(number) => find_number(client, number).await,
        }
    }

    /// Its id, asked of the server only where need be.
    pub async fn id(self, client: &ApiClient) -> Result<RunId, Failure> {
        match self {
            Self::Id(id) => Ok(id),
            _ => id_of(&self.find(client).await?),
        }
    }
}

pub fn id_of(run: &Run) -> Result<RunId, Failure> {
    run.id.parse().map_err(|_| Failure::refused(format!("The server sent {:?} as the id of a run.", run.id)))
}

async fn find_number(client: &ApiClient, number: u64) -> Result<Run, Failure> {
    let mut filter = RunFilter { text: Some(number.to_string()), limit: Some(100), ..RunFilter::default() };
    loop {
        let page = client.list_runs(&filter).await?;
        if let Some(run) = page.items.iter().find(|run| run.number == number) {
            return Ok(client.get_run(id_of(run)?).await?);
        }
        // Newest first: below the number nothing can follow.
        let passed = page.items.last().is_some_and(|run| run.number < number);
        match page.next_cursor.filter(|_| !passed) {
            Some(next) => filter.cursor = Some(next),
            None => {
                return Err(Failure::refused(format!("There is no run #{number}."))
                    .hint("`gantry runs` lists what there is."));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_number_id_or_last() {
        let id = RunId::from_u128(9);
        for (text, name) in [
            ("42", RunName::Number(42)),
            ("#42", RunName::Number(42)),
            ("last", RunName::Last),
            (&id.to_string(), RunName::Id(id)),
        ] {
            assert_eq!(text.parse(), Ok(name));
        }
        for bad in ["", "0", "#", "-1", "run_1", "latest", "4 2"] {
            assert!(bad.parse::<RunName>().is_err(), "{bad}");
        }
    }
}

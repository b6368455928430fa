//! `gantry runs`: the list.

use std::io::Write as _;

use futures::{StreamExt as _, TryStreamExt as _};
use gantry_api_types::run::Run;
use gantry_client::{ApiClient, RunFilter};

use super::now;
use crate::args::{Output, RunsArgs};
use crate::failure::Failure;
use crate::terminal::style::{of_status, words};
use crate::terminal::table::{Rows, coloured, plain};
use crate::terminal::{human, json};

pub async fn run(client: &ApiClient, output: Output, args: &RunsArgs) -> Result<(), Failure> {
    let runs = client.all_runs(args.filter(now())).take(args.limit as usize);
    let runs: Vec<Run> = runs.try_collect().await?;
    if output == Output::Json {
        return json::print(&serde_json::json!({ "items": runs }));
    }
    if runs.is_empty() {
        let filtered =
            args.filter(now()) != RunFilter { limit: Some(args.limit.min(100)), ..RunFilter::default() };
        let said = match filtered {
            true => "No run is like that. `gantry runs` without filters lists the newest.",
            false => "There is no run yet. Create one: gantry run --image busybox:1.36 -- echo hi",
        };
        writeln!(anstream::stderr().lock(), "{said}")?;
        return Ok(());
    }
    let groups = runs.iter().any(|run| run.group.is_some());
    let mut headings = vec!["run", "status", "what", "tests", "duration", "created"];
    if groups {
        headings.push("group");
    }
    let mut rows = Rows::new(&headings).keep_whole(&[0, 1, 3, 4, 5]);
    for run in &runs {
        let mut cells = vec![
            plain(format!("#{}", run.number)),
            coloured(words(run.status), of_status(run.status)),
            plain(what(run)),
            plain(tests(run)),
            plain(run.duration_ms.map(human::millis).unwrap_or_default()),
            plain(human::ago(run.created_at, now())),
        ];
        if groups {
            cells.push(plain(run.group.as_deref().unwrap_or_default()));
        }
        rows.push(cells);
    }
    rows.print()
}

/// What a run is, in a phrase: its project or image, and its command.
pub fn what(run: &Run) -> String {
    let name = run.project.as_deref().or(run.image.as_deref());
    let command = run.command.as_ref().map(|command| shell_words(command)).or_else(|| run.folder.clone());
    match (name, command) {
        (Some(name), Some(command)) => format!("{name}: {command}"),
        (Some(one), None) => one.to_owned(),
        (None, Some(one)) => one,
        (None, None) => String::new(),
    }
}

/// The command as one could type it.
pub fn shell_words(command: &[String]) -> String {
    let quoted = command.iter().map(|word| {
        let harmless = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
        if !word.is_empty() && word.chars().all(harmless) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn tests(run: &Run) -> String {
    let tests = &run.tests;
    match (tests.total, tests.failed) {
        (0, _) => String::new(),
        (total, 0) => format!("{total}"),
        (total, failed) => format!("{failed} of {total} failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_could_type_it() {
        let command = ["sh", "-c", "echo 'hi'; exit 3", ""].map(str::to_owned);
        assert_eq!(shell_words(&command), r"sh -c 'echo '\''hi'\''; exit 3' ''");
    }
}

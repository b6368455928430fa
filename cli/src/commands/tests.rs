//! `gantry tests`: what each test said.

use std::io::Write as _;
use std::path::Path;

use futures::TryStreamExt as _;
use gantry_api_types::run::TestResult;
use gantry_client::ApiClient;

use super::show::failed_test;
use crate::args::{Output, TestsArgs};
use crate::failure::Failure;
use crate::run_name::id_of;
use crate::terminal::style::of_test;
use crate::terminal::table::{Rows, coloured, plain};
use crate::terminal::{human, json};

pub async fn run(client: &ApiClient, output: Output, args: &TestsArgs) -> Result<(), Failure> {
    let run = args.run.find(client).await?;
    let tests: Vec<TestResult> = client.all_tests(id_of(&run)?, args.filter()).try_collect().await?;
    if output == Output::Json {
        return json::print(&serde_json::json!({ "items": tests }));
    }
    if tests.is_empty() {
        let what = match (run.tests.total, args.failed) {
            (0, _) => "has no test results; it needs JUnit XML or Playwright JSON among its artifacts",
            (_, true) => "has no failed tests",
            (_, false) => "has no test results",
        };
        writeln!(anstream::stderr().lock(), "Run #{} {what}.", run.number)?;
        return Ok(());
    }
    if args.failed {
        let mut out = anstream::stdout().lock();
        tests.iter().try_for_each(|test| failed_test(&mut out, test))?;
        return Ok(out.flush()?);
    }
    let files = tests.iter().any(|test| test.file.is_some());
    let mut headings = vec!["status", "test", "suite", "duration"];
    if files {
        headings.push("file");
    }
    let mut rows = Rows::new(&headings).keep_whole(&[0, 3]).at_most(2, 30);
    for test in &tests {
        let mut cells = vec![
            coloured(test.status.as_str(), of_test(test.status)),
            plain(&test.name),
            plain(&test.suite),
            plain(human::millis(test.duration_ms)),
        ];
        if files {
            cells.push(plain(test.file.as_deref().map(file_name).unwrap_or_default()));
        }
        rows.push(cells);
    }
    rows.print()
}

/// The end of a path, which says the most.
fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

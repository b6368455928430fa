//! A million runs in the store: how long people wait for a page.

use std::collections::BTreeMap;
use std::time::Instant;

use gantry_api_types::run::Status;
use gantry_client::RunFilter;
use gantry_domain::attempt::{Attempt, Outcome};
use gantry_domain::id::{OrganizationId, RunId, WorkerId};
use gantry_domain::reason::{Reason, ReasonCode};
use gantry_domain::run::{Actor, Run, RunState, Trigger, TriggerKind, Verdict};
use gantry_domain::spec::{Network, Pool, Priority, Resources, RetryPolicy, RunSpec};
use gantry_domain::time::{Clock as _, SystemClock, Timestamp};
use gantry_store::sqlite::{self, SqliteOptions};
use gantry_tests::Installation;

use crate::report::say;
use crate::samples::{Series, millis, quantile};

const RUNS: u64 = 1_000_000;
const REQUESTS: usize = 500;

/// A plain specification; `n` spreads it over projects and groups.
pub fn spec(n: u64) -> RunSpec {
    RunSpec {
        project: Some(format!("project-{}", n % 50)),
        image: Some("registry.example/shop-e2e:1.4.2".into()),
        command: Some(["npx", "playwright", "test"].map(str::to_owned).to_vec()),
        folder: Some("tests/e2e".into()),
        environment: Some(["staging", "production"][(n % 2) as usize].into()),
        base_url: None,
        variables: BTreeMap::from([("BROWSER".into(), "chromium".into())]),
        secrets: vec![],
        group: Some(format!("group-{}", n % 1000)),
        labels: BTreeMap::from([("team".into(), format!("team-{}", n % 7))]),
        pool: Pool::default(),
        priority: Priority::Normal,
        timeout_seconds: 3600,
        retries: RetryPolicy::default(),
        at_most_once: false,
        resources: Resources::default(),
        network: Network::default(),
        artifacts: vec![],
        workdir: None,
    }
}

/// A run that waits for a worker.
pub fn pending_run(organization: OrganizationId, number: u64, now: Timestamp) -> Run {
    let trigger = Trigger { kind: TriggerKind::Api, actor: Actor::System, rerun_of: None, trace: None };
    Run { number, ..Run::accepted(RunId::new(), organization, spec(number), trigger, now) }
}

fn finished_run(organization: OrganizationId, number: u64, worker: WorkerId, now: Timestamp) -> Run {
    let (verdict, code) = match number % 10 {
        0 => (Verdict::Failed, ReasonCode::ExitCode),
        1 => (Verdict::TimedOut, ReasonCode::Timeout),
        _ => (Verdict::Passed, ReasonCode::Completed),
    };
    let reason = Reason::new(code, "The command ended.");
    let mut attempt = Attempt::open(1, worker, now);
    attempt.outcome = Some(Outcome { verdict, reason: reason.clone(), exit_code: Some(0) });
    attempt.finished_at = Some(now);
    attempt.log.end = Some(0);
    Run {
        version: 5,
        finished_at: Some(now),
        state: RunState::Finished { verdict, reason },
        attempts: vec![attempt],
        ..pending_run(organization, number, now)
    }
}

pub async fn measure(series: &mut Series) -> anyhow::Result<()> {
    let installation = Installation::new("fake")?.set("GANTRY_LOG_FILTER", "warn");
    installation.up()?.stop()?;
    let store = sqlite::open(SqliteOptions::new(installation.data_dir().join("gantry.db")))?;
    let stores = store.stores();
    let organization = stores.auth.first_organization().await?.map(|organization| organization.id);
    let organization = organization.ok_or_else(|| anyhow::anyhow!("no organization"))?;
    let (worker, now) = (WorkerId::new(), SystemClock.now());
    let begun = Instant::now();
    let mut ids = Vec::new();
    for from in (1..=RUNS).step_by(10_000) {
        let runs: Vec<_> =
            (from..from + 10_000).map(|number| finished_run(organization, number, worker, now)).collect();
        ids.extend(runs.iter().step_by(1000).map(|run| run.id));
        stores.runs.import(runs).await?;
    }
    store.close().await;
    say(&format!("{RUNS} runs stored in {:.0} s", begun.elapsed().as_secs_f64()));

    let up = installation.up()?;
    let client = up.client()?;
    let page = |filter: RunFilter| RunFilter { limit: Some(25), ..filter };
    for (name, filter) in [
        ("stored list p99 ms", RunFilter::default()),
        (
            "stored by status p99 ms",
            RunFilter { statuses: vec![Status::Failed, Status::TimedOut], ..Default::default() },
        ),
        ("stored by project p99 ms", RunFilter { project: Some("project-7".into()), ..Default::default() }),
        ("stored by group p99 ms", RunFilter { group: Some("group-77".into()), ..Default::default() }),
    ] {
        let mut samples = Vec::new();
        let mut cursor = None;
        for _ in 0..REQUESTS {
            let begun = Instant::now();
            let found =
                client.list_runs(&RunFilter { cursor: cursor.take(), ..page(filter.clone()) }).await?;
            samples.push(millis(begun.elapsed()));
            anyhow::ensure!(!found.items.is_empty(), "an empty page of {name}");
            cursor = found.next_cursor;
        }
        series.add(name, quantile(&samples, 0.99).unwrap_or(f64::NAN));
    }
    let mut samples = Vec::new();
    for i in 0..REQUESTS {
        let begun = Instant::now();
        client.get_run(ids[(i * 7919) % ids.len()]).await?;
        samples.push(millis(begun.elapsed()));
    }
    series.add("stored detail p99 ms", quantile(&samples, 0.99).unwrap_or(f64::NAN));
    up.stop()
}

//! How long a caller waits for `202`, and how long until the result of a run that does nothing is stored.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use gantry_api_types::request::CreateRun;
use gantry_client::{ApiClient, Change};
use gantry_tests::Up;

use crate::samples::{Series, millis, quantile};

/// A run that does nothing.
pub fn no_op() -> CreateRun {
    CreateRun {
        image: Some("none:1".into()),
        command: Some(vec!["true".into()]),
        artifacts: Some(vec![]),
        ..CreateRun::default()
    }
}

pub async fn measure(up: &Up, series: &mut Series) -> anyhow::Result<()> {
    let client = up.client()?;
    let (accepts, stored) = one_by_one(&client, 100).await?;
    series.add("accept p50 ms", quantile(&accepts, 0.5).unwrap_or(f64::NAN));
    series.add("submit to stored p50 ms", quantile(&stored, 0.5).unwrap_or(f64::NAN));
    series.add("submit to stored p99 ms", quantile(&stored, 0.99).unwrap_or(f64::NAN));
    Ok(())
}

/// Between two runs of an idle system: watchers are told at once only after a quiet moment.
pub const QUIET: Duration = Duration::from_millis(250);

/// Submits one run at a time and hears of its end from the event stream.
pub async fn one_by_one(client: &ApiClient, count: usize) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let mut events = Box::pin(client.events());
    let (mut accepts, mut stored) = (Vec::new(), Vec::new());
    // The stream is open once it has told of a run.
    let mut warm = true;
    while stored.len() < count {
        tokio::time::sleep(QUIET).await;
        let begun = Instant::now();
        let run = client.create_run(&no_op(), None).await?;
        let accepted = begun.elapsed();
        let over = async {
            loop {
                match events.next().await {
                    Some(Ok(Change::Run(seen))) if seen.id == run.id && seen.status.is_final() => {
                        return Ok(());
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => anyhow::bail!("the event stream ended"),
                }
            }
        };
        match tokio::time::timeout(Duration::from_secs(2), over).await {
            Ok(result) => result?,
            Err(_) if warm => continue,
            Err(_) => anyhow::bail!("{} did not end", run.id),
        }
        if std::mem::take(&mut warm) {
            continue;
        }
        accepts.push(millis(accepted));
        stored.push(millis(begun.elapsed()));
    }
    Ok((accepts, stored))
}

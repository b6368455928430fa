//! Whether a storm of sign-ins holds up runs: accepting is measured quiet, and again while strangers try to sign in.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use gantry_api_types::identity::{Delivery, Hidden, SignIn};
use gantry_client::{ApiClient, ClientError, Transport};
use gantry_tests::Installation;
use http::{HeaderMap, HeaderValue};
use tokio::time::{MissedTickBehavior, interval};

use crate::accept::no_op;
use crate::samples::{Series, millis, quantile};

/// Between two submissions, and between two sign-ins of the storm: a hundred a second.
const SUBMISSIONS: Duration = Duration::from_millis(20);
const SIGN_INS: Duration = Duration::from_millis(10);
const LENGTH: Duration = Duration::from_secs(8);

pub async fn measure(series: &mut Series) -> anyhow::Result<()> {
    let installation = Installation::new("fake")?
        .set("GANTRY_SLOTS", "16")
        .set("GANTRY_LOG_FILTER", "warn")
        // What is measured is the thread that hashes, not the limits before it.
        .set("GANTRY_RATE_LIMITS_SIGN_INS", "0")
        .set("GANTRY_HTTP_TRUSTED_PROXIES", "1");
    let up = installation.up()?;
    let client = up.client()?;
    let stranger = ApiClient::new(Transport::http(&client.address())?.with_headers(another_address), "");
    submissions(&client).await?;
    let quiet = submissions(&client).await?;
    let (stormy, storm) = tokio::join!(submissions(&client), storm(&stranger));
    let storm = storm?;
    series.add("accept p99 quiet ms", quantile(&quiet, 0.99).unwrap_or(f64::NAN));
    series.add("accept p99 in a storm ms", quantile(&stormy?, 0.99).unwrap_or(f64::NAN));
    series.add("passwords judged per s", storm.judged as f64 / LENGTH.as_secs_f64());
    series.add("sign-ins turned away per s", storm.turned_away as f64 / LENGTH.as_secs_f64());
    up.stop()?;
    Ok(())
}

/// As a proxy tells of people everywhere.
fn another_address(headers: &mut HeaderMap) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let address = Ipv4Addr::from_bits(0x0a00_0001 + NEXT.fetch_add(1, Ordering::Relaxed)).to_string();
    if let Ok(address) = HeaderValue::from_str(&address) {
        headers.insert("x-forwarded-for", address);
    }
}

/// How long each of a steady row of submissions took, counted from when it was due.
async fn submissions(client: &ApiClient) -> anyhow::Result<Vec<f64>> {
    let mut due = interval(SUBMISSIONS);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < LENGTH {
        due.tick().await;
        let sent = Instant::now();
        client.create_run(&no_op(), None).await?;
        took.push(millis(sent.elapsed()));
    }
    Ok(took)
}

#[derive(Default)]
struct Storm {
    judged: usize,
    turned_away: usize,
}

/// A hundred sign-ins a second, each at an account of its own.
async fn storm(stranger: &ApiClient) -> anyhow::Result<Storm> {
    let mut due = interval(SIGN_INS);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (begun, mut tries) = (Instant::now(), Vec::new());
    while begun.elapsed() < LENGTH {
        due.tick().await;
        let (stranger, number) = (stranger.clone(), tries.len());
        tries.push(tokio::spawn(async move {
            let request = SignIn {
                email: format!("nobody{number}@example.com"),
                password: Hidden("not this one".to_owned()),
                organization: None,
                delivery: Some(Delivery::Body),
            };
            stranger.sign_in(&request).await
        }));
    }
    let mut storm = Storm::default();
    for answer in join_all(tries).await {
        match answer? {
            Err(ClientError::Problem { problem, .. }) if problem.status == 401 => storm.judged += 1,
            Err(ClientError::Problem { problem, .. }) if problem.status == 503 => storm.turned_away += 1,
            Err(error) => return Err(error.into()),
            Ok(_) => anyhow::bail!("nobody signed in"),
        }
    }
    Ok(storm)
}

//! What Gantry costs when it does nothing, and how fast it is there.

use std::time::{Duration, Instant};

use gantry_tests::Installation;

use crate::samples::{Series, millis};

/// Processor time and memory over half a minute without work, with the docker executor.
pub async fn measure(series: &mut Series) -> anyhow::Result<()> {
    let installation = Installation::new("docker")?;
    let up = installation.up()?;
    tokio::time::sleep(Duration::from_secs(15)).await;
    for _ in 0..5 {
        let (before, begun) = (processor_seconds(up.pid())?, Instant::now());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let used = processor_seconds(up.pid())? - before;
        series.add("idle cpu percent", 100.0 * used / begun.elapsed().as_secs_f64());
        series.add("idle MiB", up.memory()? as f64 / f64::from(1 << 20));
    }
    up.stop()
}

/// User and system time of a process, by its scheduler statistics (nanoseconds, finer than ticks).
pub fn processor_seconds(pid: u32) -> anyhow::Result<f64> {
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += text.split(' ').next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(nanos as f64 / 1e9)
}

/// From the start of the process until it says that it serves, with data of an earlier start.
pub async fn start(series: &mut Series) -> anyhow::Result<()> {
    let installation = Installation::new("docker")?;
    installation.up()?.stop()?;
    let begun = Instant::now();
    let up = installation.up()?;
    let client = up.client()?;
    while !client.health().await.is_ok_and(|health| health.ready) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    series.add("start ms", millis(begun.elapsed()));
    up.stop()
}

//! A command that is told to stop ends: politely, and else by force.

use std::time::{Duration, Instant};

use crate::{Act, Backend, Silent, destroy, read, ready, run, soon, spec, start};

pub async fn a_running_command_stops(backend: &impl Backend) {
    let spec = spec(backend, &Act::Run);
    let output = ready(start(backend, &spec).await).await;
    let asked = Instant::now();
    soon(backend.executor().stop(spec.key, Duration::from_secs(30))).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(20), "it had to be killed");
    read(output).await;
    assert_eq!(soon(backend.executor().wait(spec.key)).await.unwrap().code, 143);
    destroy(backend, spec.key).await;
}

pub async fn a_stubborn_command_is_killed_after_its_grace(backend: &impl Backend) {
    let spec = spec(backend, &Act::RunStubbornly);
    let output = ready(start(backend, &spec).await).await;
    let (asked, grace) = (Instant::now(), Duration::from_secs(1));
    soon(backend.executor().stop(spec.key, grace)).await.unwrap();
    assert!(asked.elapsed() >= grace, "it was given no grace");
    read(output).await;
    assert_eq!(soon(backend.executor().wait(spec.key)).await.unwrap().code, 137);
    destroy(backend, spec.key).await;
}

pub async fn a_command_that_is_not_running_stops(backend: &impl Backend) {
    let (executor, grace) = (backend.executor(), Duration::from_secs(1));
    let ended = spec(backend, &Act::Exit(4));
    run(backend, &ended).await;
    soon(executor.stop(ended.key, grace)).await.unwrap();
    assert_eq!(soon(executor.wait(ended.key)).await.unwrap().code, 4, "the exit stays what it was");
    destroy(backend, ended.key).await;
    soon(executor.stop(ended.key, grace)).await.unwrap();

    let prepared = spec(backend, &Act::Exit(0));
    soon(executor.prepare(&prepared, &Silent)).await.unwrap();
    soon(executor.stop(prepared.key, grace)).await.unwrap();
    destroy(backend, prepared.key).await;
}

pub async fn stopping_twice_at_once_is_fine(backend: &impl Backend) {
    let (executor, spec) = (backend.executor(), spec(backend, &Act::RunStubbornly));
    let output = ready(start(backend, &spec).await).await;
    let patient = executor.stop(spec.key, Duration::from_secs(40));
    let impatient = executor.stop(spec.key, Duration::ZERO);
    // The shorter grace counts.
    let (first, second) = soon(async { tokio::join!(patient, impatient) }).await;
    assert_eq!((first, second), (Ok(()), Ok(())));
    read(output).await;
    destroy(backend, spec.key).await;
}

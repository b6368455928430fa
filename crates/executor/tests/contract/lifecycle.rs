//! Calls in the wrong moment: destroy is always safe, and everything else says what is wrong.

use std::time::Duration;

use futures::FutureExt as _;
use gantry_domain::id::RunId;
use gantry_executor::{AttemptKey, ExecutorError};

use crate::{Act, Backend, Silent, destroy, ready, run, soon, spec, start};

pub async fn destroy_is_safe_at_any_time(backend: &impl Backend) {
    let executor = backend.executor();
    destroy(backend, AttemptKey { run: RunId::new(), attempt: 1 }).await;

    let prepared = spec(backend, &Act::Run);
    soon(executor.prepare(&prepared, &Silent)).await.unwrap();
    destroy(backend, prepared.key).await;
    destroy(backend, prepared.key).await;

    let running = spec(backend, &Act::RunStubbornly);
    let output = ready(start(backend, &running).await).await;
    let waiting = executor.wait(running.key);
    let (waited, ()) = soon(async { tokio::join!(waiting, destroy(backend, running.key)) }).await;
    assert!(waited.as_ref().is_ok_and(|exit| exit.code == 137) || waited.is_err(), "{waited:?}");
    // Its stream ends, however.
    soon(futures::StreamExt::collect::<Vec<_>>(output)).await;

    let ended = spec(backend, &Act::Exit(0));
    run(backend, &ended).await;
    let (first, second) =
        soon(async { tokio::join!(executor.destroy(ended.key), executor.destroy(ended.key)) }).await;
    assert_eq!((first, second), (Ok(()), Ok(())));
    destroy(backend, ended.key).await;
}

pub async fn a_dropped_prepare_leaves_nothing_after_destroy(backend: &impl Backend) {
    for polls in [1, 2, 5] {
        let spec = spec(backend, &Act::Exit(0));
        let mut prepare = backend.executor().prepare(&spec, &Silent);
        for _ in 0..polls {
            if (&mut prepare).now_or_never().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(prepare);
        destroy(backend, spec.key).await;
        // What the dropped call may have left behind in the background must not come up later either.
        tokio::time::sleep(Duration::from_millis(50)).await;
        destroy(backend, spec.key).await;
    }
}

pub async fn a_dropped_start_leaves_nothing_after_destroy(backend: &impl Backend) {
    let executor = backend.executor();
    for polls in [1, 3] {
        let spec = spec(backend, &Act::RunStubbornly);
        soon(executor.prepare(&spec, &Silent)).await.unwrap();
        let mut start = executor.start(spec.key);
        for _ in 0..polls {
            if (&mut start).now_or_never().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(start);
        destroy(backend, spec.key).await;
    }
}

pub async fn another_worker_finds_and_destroys_what_is_left(backend: &impl Backend) {
    let spec = spec(backend, &Act::RunStubbornly);
    let output = ready(start(backend, &spec).await).await;
    let other = backend.other_worker();
    assert!(soon(other.leftovers()).await.unwrap().contains(&spec.key));
    soon(other.destroy(spec.key)).await.unwrap();
    assert!(!soon(other.leftovers()).await.unwrap().contains(&spec.key));
    soon(futures::StreamExt::collect::<Vec<_>>(output)).await;
    destroy(backend, spec.key).await;
}

pub async fn a_wrong_order_is_told(backend: &impl Backend) {
    fn is_wrong_order<T>(result: Result<T, ExecutorError>) -> bool {
        matches!(result, Err(ExecutorError::CallOrder(_)))
    }
    let (executor, spec) = (backend.executor(), spec(backend, &Act::Run));
    assert!(is_wrong_order(soon(executor.start(spec.key)).await), "start before prepare");
    assert!(is_wrong_order(soon(executor.wait(spec.key)).await), "wait before prepare");
    soon(executor.prepare(&spec, &Silent)).await.unwrap();
    assert!(is_wrong_order(soon(executor.prepare(&spec, &Silent)).await), "prepare twice");
    assert!(is_wrong_order(soon(executor.wait(spec.key)).await), "wait before start");
    let output = ready(soon(executor.start(spec.key)).await.unwrap()).await;
    assert!(is_wrong_order(soon(executor.start(spec.key)).await), "start twice");
    assert!(is_wrong_order(soon(executor.collect(spec.key, &[])).await), "collect before the end");
    drop(output);
    destroy(backend, spec.key).await;
    assert!(is_wrong_order(soon(executor.start(spec.key)).await), "start after destroy");
}

pub async fn a_healthy_backend_passes_its_check(backend: &impl Backend) {
    let name = soon(backend.executor().check()).await.unwrap();
    assert!(name.to_lowercase().contains(backend.executor().kind().as_str()), "{name}");
}

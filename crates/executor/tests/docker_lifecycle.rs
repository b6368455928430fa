//! Output to the last byte, and nothing left behind, whenever an attempt is given up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod docker_support;

use std::time::Duration;

use docker_support::*;
use futures::StreamExt;
use gantry_domain::log::LogStream;
use gantry_executor::{AttemptKey, Executor};

#[tokio::test]
async fn output_is_exact_to_the_byte_on_both_streams() {
    with(options(), async |docker| {
        let spec = shell(
            "(head -c 12000000 /dev/urandom | tee out) & (head -c 12000000 /dev/urandom | tee err >&2) & wait; printf end",
        );
        let ran = run(&docker, &spec).await.unwrap();
        let files = collected(&docker, spec.key, &["out", "err"]).await;
        let [(_, err), (_, mut out)] = <[_; 2]>::try_from(files).unwrap();
        out.extend_from_slice(b"end");
        assert_eq!((out.len(), err.len()), (12_000_003, 12_000_000));
        assert!(ran.stdout == out, "stdout differs");
        assert!(ran.stderr == err, "stderr differs");
    })
    .await;
}

#[tokio::test]
async fn the_first_and_the_last_words_are_not_lost() {
    with(options(), async |docker| {
        for _ in 0..10 {
            let ran = run_once(&docker, &spec(&["printf", "no newline"])).await.unwrap();
            assert_eq!(ran.stdout(), "no newline");
        }
    })
    .await;
}

#[tokio::test]
async fn output_that_nobody_reads_holds_the_command_back() {
    const SIZE: u64 = 100 << 20;
    with(options(), async |docker| {
        let spec = shell(&format!("head -c {SIZE} /dev/zero"));
        docker.prepare(&spec, &Lines::default()).await.unwrap();
        let mut output = docker.start(spec.key).await.unwrap();
        let held = tokio::time::timeout(Duration::from_secs(3), docker.wait(spec.key)).await;
        assert!(held.is_err(), "it cannot have written everything: {held:?}");
        let mut total = 0;
        while let Some(piece) = output.next().await {
            let piece = piece.unwrap();
            assert_eq!(piece.stream, LogStream::Stdout);
            assert!(piece.bytes.len() <= 32 * 1024, "{}", piece.bytes.len());
            total += piece.bytes.len() as u64;
        }
        assert_eq!(total, SIZE);
        assert_eq!(docker.wait(spec.key).await.unwrap().code, 0);

        // Giving the stream up lets the command go on.
        let spec = shell(&format!("head -c {SIZE} /dev/zero"));
        docker.prepare(&spec, &Lines::default()).await.unwrap();
        drop(docker.start(spec.key).await.unwrap());
        let exit = tokio::time::timeout(GENEROUS, docker.wait(spec.key)).await.unwrap().unwrap();
        assert_eq!(exit.code, 0);
    })
    .await;
}

#[tokio::test]
async fn output_that_nobody_reads_does_not_hold_stop_or_destroy_back() {
    with(options(), async |docker| {
        for grace in [None, Some(Duration::ZERO), Some(Duration::from_millis(500))] {
            let spec = shell("exec cat /dev/zero");
            docker.prepare(&spec, &Lines::default()).await.unwrap();
            let mut unread = docker.start(spec.key).await.unwrap();
            // Until every buffer on the way is full.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let began = std::time::Instant::now();
            if let Some(grace) = grace {
                docker.stop(spec.key, grace).await.unwrap();
                assert!(docker.wait(spec.key).await.unwrap().code >= 128);
            }
            docker.destroy(spec.key).await.unwrap();
            assert!(began.elapsed() < Duration::from_secs(10), "{grace:?}: {:?}", began.elapsed());
            assert!(unread.next().await.is_none(), "its reader finds the end");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_up_at_any_moment_leaves_nothing() {
    with(options(), async |docker| {
        let rounds = futures::stream::iter(0_u64..40).map(|round| {
            let docker = docker.clone();
            async move {
                let spec = shell("echo up; sleep 0.1; mkdir r; echo x >r/f");
                let whole = async {
                    run(&docker, &spec).await?;
                    docker.collect(spec.key, &["r".to_owned()]).await?.map(drop).collect::<()>().await;
                    Ok::<_, gantry_executor::ExecutorError>(())
                };
                // From the first poll on, in steps that fall into every call.
                let moment = Duration::from_micros(round * round * 500);
                if let Ok(outcome) = tokio::time::timeout(moment, whole).await {
                    outcome.unwrap();
                }
                docker.destroy(spec.key).await.unwrap();
                let gone = engine().inspect_container(&container_name(&spec), None).await;
                assert!(gone.is_err(), "round {round}");
                docker.destroy(spec.key).await.unwrap();
            }
        });
        rounds.buffer_unordered(4).collect::<()>().await;
        // A create that was still under way would show itself by now.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(docker.leftovers().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn leftovers_of_this_installation_are_found_by_any_of_its_workers() {
    let options = options();
    let mut successor = options.clone();
    successor.owner.worker = gantry_domain::id::WorkerId::new();
    with(options, async |docker| {
        let (created, running, ended) = (shell("true"), shell("sleep 600"), shell("true"));
        docker.prepare(&created, &Lines::default()).await.unwrap();
        docker.prepare(&running, &Lines::default()).await.unwrap();
        let _output = docker.start(running.key).await.unwrap();
        run(&docker, &ended).await.unwrap();
        let mut keys = [created.key, running.key, ended.key];
        keys.sort_by_key(|key: &AttemptKey| key.run);

        let successor = connect(successor).await;
        assert_eq!(successor.leftovers().await.unwrap(), keys);
        let stranger = connect(crate::options()).await;
        assert_eq!(stranger.leftovers().await.unwrap(), []);
        for key in keys {
            successor.destroy(key).await.unwrap();
        }
        assert_eq!(successor.leftovers().await.unwrap(), []);
        let unknown = shell("true").key;
        docker.destroy(unknown).await.unwrap();
        docker.stop(unknown, Duration::ZERO).await.unwrap();
    })
    .await;
}

//! What a container does, and what the executor says it did: the table of the design, on a real engine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod docker_support;

use std::time::{Duration, Instant};

use docker_support::*;
use futures::StreamExt;
use gantry_executor::{Executor, ExecutorError, Exit};

#[tokio::test]
async fn a_command_runs_and_its_code_and_output_come_back() {
    with(options(), async |docker| {
        let ran = run_once(&docker, &spec(&["echo", "hi"])).await.unwrap();
        assert_eq!((ran.stdout().as_str(), ran.stderr().as_str()), ("hi\n", ""));
        assert_eq!(ran.exit, Some(Exit { code: 0, oom_killed: false }));

        let ran = run_once(&docker, &shell("echo out; echo err >&2; exit 3")).await.unwrap();
        assert_eq!((ran.stdout().as_str(), ran.stderr().as_str(), ran.code()), ("out\n", "err\n", 3));
    })
    .await;
}

#[tokio::test]
async fn a_missing_or_unusable_program_is_126_or_127_or_a_bad_command() {
    for init in [true, false] {
        let mut options = options();
        options.init = init;
        with(options, async |docker| {
            for (words, code) in [
                (&["/no/such/program"][..], 127),
                (&["no-such-program", "-x"], 127),
                (&["/app/not-executable"], 126),
                (&["/app"], 126),
            ] {
                let mut spec = spec(words);
                spec.image = Some(TEST_IMAGE.to_owned());
                match run_once(&docker, &spec).await {
                    Ok(ran) => assert_eq!((init, ran.code()), (true, code), "{words:?}"),
                    Err(ExecutorError::BadCommand(sentence)) => {
                        assert!(!init && sentence.contains(words[0]), "{sentence}");
                        assert!(!sentence.contains("runc") && !sentence.contains("OCI"), "{sentence}");
                    }
                    Err(error) => panic!("{words:?}: {error}"),
                }
            }
            assert_eq!(run_once(&docker, &shell("no-such-program")).await.unwrap().code(), 127);
        })
        .await;
    }
}

#[tokio::test]
async fn out_of_memory_is_told_from_a_child_out_of_memory() {
    with(options(), async |docker| {
        let main = run_once(&docker, &shell("exec tail /dev/zero")).await.unwrap();
        assert_eq!(main.exit, Some(Exit { code: 137, oom_killed: true }));

        let child = run_once(&docker, &shell("tail /dev/zero; exit 0")).await.unwrap();
        assert_eq!(child.exit, Some(Exit { code: 0, oom_killed: true }));
    })
    .await;
}

#[tokio::test]
async fn killed_from_outside_is_137_without_out_of_memory() {
    with(options(), async |docker| {
        let spec = shell("echo up; sleep 600");
        docker.prepare(&spec, &Lines::default()).await.unwrap();
        let mut output = docker.start(spec.key).await.unwrap();
        assert_eq!(output.next().await.unwrap().unwrap().bytes, "up\n");
        engine().kill_container(&container_name(&spec), None).await.unwrap();
        let exit = docker.wait(spec.key).await.unwrap();
        assert_eq!(exit, Exit { code: 137, oom_killed: false });
        assert_eq!(docker.wait(spec.key).await.unwrap(), exit, "asked again, it says the same");
        assert!(output.next().await.is_none(), "the output ends");
    })
    .await;
}

#[tokio::test]
async fn a_container_that_somebody_removes_is_an_infrastructure_failure() {
    with(options(), async |docker| {
        let spec = shell("sleep 600");
        docker.prepare(&spec, &Lines::default()).await.unwrap();
        let _output = docker.start(spec.key).await.unwrap();
        let wait = docker.wait(spec.key);
        let remove = async {
            let force =
                bollard::query_parameters::RemoveContainerOptionsBuilder::default().force(true).build();
            engine().remove_container(&container_name(&spec), Some(force)).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(wait, remove);
        assert!(matches!(outcome, Err(ExecutorError::Infrastructure(_))), "{outcome:?}");
    })
    .await;
}

#[tokio::test]
async fn stop_ends_a_command_politely_or_by_force() {
    with(options(), async |docker| {
        let polite = shell("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done");
        let (code, output, _) = started_and_stopped(&docker, &polite, Duration::from_secs(20)).await;
        assert_eq!((code, output.as_str()), (5, "up\nbye\n"));

        let plain = spec(&["sh", "-c", "echo up; exec sleep 600"]);
        let (code, _, took) = started_and_stopped(&docker, &plain, Duration::from_secs(20)).await;
        assert_eq!(code, 143, "a command without handlers ends at once");
        assert!(took < Duration::from_secs(10), "{took:?}");

        let stubborn = shell("trap '' TERM; echo up; while :; do sleep 0.05; done");
        let (code, _, took) = started_and_stopped(&docker, &stubborn, Duration::from_millis(300)).await;
        assert_eq!(code, 137);
        assert!(took >= Duration::from_millis(300), "{took:?}");

        let (code, _, _) = started_and_stopped(&docker, &stubborn_again(), Duration::ZERO).await;
        assert_eq!(code, 137);
    })
    .await;
}

fn stubborn_again() -> gantry_executor::AttemptSpec {
    shell("trap '' TERM; echo up; while :; do sleep 0.05; done")
}

/// Stops the command after its first output; its code, all output, and how long stopping took.
async fn started_and_stopped(
    docker: &gantry_executor::docker::DockerExecutor,
    spec: &gantry_executor::AttemptSpec,
    grace: Duration,
) -> (i64, String, Duration) {
    docker.prepare(spec, &Lines::default()).await.unwrap();
    let mut output = docker.start(spec.key).await.unwrap();
    let mut bytes = output.next().await.unwrap().unwrap().bytes.to_vec();
    let began = Instant::now();
    docker.stop(spec.key, grace).await.unwrap();
    let took = began.elapsed();
    let state = engine().inspect_container(&container_name(spec), None).await.unwrap().state.unwrap();
    assert_eq!(state.running, Some(false), "after stop it does not run");
    while let Some(piece) = output.next().await {
        bytes.extend_from_slice(&piece.unwrap().bytes);
    }
    let code = docker.wait(spec.key).await.unwrap().code;
    docker.stop(spec.key, grace).await.unwrap();
    docker.destroy(spec.key).await.unwrap();
    (code, String::from_utf8(bytes).unwrap(), took)
}

#[tokio::test]
async fn without_a_command_the_entrypoint_of_the_convention_runs() {
    with(options(), async |docker| {
        let mut spec = spec(&[]);
        spec.command = None;
        spec.folder = Some("suites/login page".to_owned());
        spec.image = Some(TEST_IMAGE.to_owned());
        spec.environment.insert("BASE_URL".to_owned(), "http://x\nsecond 'line'".to_owned());
        let ran = run(&docker, &spec).await.unwrap();
        assert!(
            ran.stdout().starts_with("entrypoint folder=suites/login page in /app\n"),
            "{}",
            ran.stdout()
        );
        assert!(ran.stdout().contains("BASE_URL=http://x"), "{}", ran.stdout());
        let files = collected(&docker, spec.key, &["reports", "junit.xml"]).await;
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].0, "reports/junit.xml");
    })
    .await;
}

#[tokio::test]
async fn the_environment_is_what_was_given_and_nothing_of_this_machine() {
    with(options(), async |docker| {
        let mut spec = spec(&["env"]);
        spec.environment.insert("TOKEN".to_owned(), "a=b \"c\" $d".to_owned());
        let ran = run_once(&docker, &spec).await.unwrap();
        let mut names: Vec<_> =
            ran.stdout().lines().map(|l| l.split('=').next().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["HOME", "HOSTNAME", "PATH", "TOKEN"]);
        assert!(ran.stdout().contains("TOKEN=a=b \"c\" $d\n"), "{}", ran.stdout());
    })
    .await;
}

#[tokio::test]
async fn what_this_executor_does_not_do_is_refused() {
    with(options(), async |docker| {
        let mut on_the_host = spec(&["true"]);
        on_the_host.workdir = Some("/tmp".into());
        let mut without_image = spec(&["true"]);
        without_image.image = None;
        for spec in [on_the_host, without_image] {
            let outcome = docker.prepare(&spec, &Lines::default()).await;
            assert!(matches!(outcome, Err(ExecutorError::Unsupported(_))), "{outcome:?}");
            docker.destroy(spec.key).await.unwrap();
        }
        let outcome = docker.prepare(&spec(&[]), &Lines::default()).await;
        assert!(matches!(outcome, Err(ExecutorError::BadCommand(_))), "{outcome:?}");
    })
    .await;
}

#[tokio::test]
async fn a_wrong_order_of_calls_is_refused() {
    with(options(), async |docker| {
        let wrong =
            |outcome: ExecutorError| assert!(matches!(outcome, ExecutorError::CallOrder(_)), "{outcome}");
        let spec = shell("sleep 600");
        wrong(docker.start(spec.key).await.err().unwrap());
        wrong(docker.wait(spec.key).await.unwrap_err());
        docker.prepare(&spec, &Lines::default()).await.unwrap();
        wrong(docker.prepare(&spec, &Lines::default()).await.unwrap_err());
        wrong(docker.wait(spec.key).await.unwrap_err());
        docker.stop(spec.key, Duration::ZERO).await.unwrap();
        let _output = docker.start(spec.key).await.unwrap();
        wrong(docker.start(spec.key).await.err().unwrap());
        wrong(docker.collect(spec.key, &["x".to_owned()]).await.err().unwrap());
    })
    .await;
}

#[tokio::test]
async fn the_engine_says_who_it_is() {
    with(options(), async |docker| {
        let sentence = docker.check().await.unwrap();
        assert!(sentence.starts_with("Docker engine ") && sentence.contains("API 1."), "{sentence}");
        assert!(docker.disk_space().is_none_or(|space| space.free <= space.total && space.total > 0));
    })
    .await;
}

#[tokio::test]
async fn an_absent_engine_is_said_so() {
    for host in ["unix:///no/such/socket", "tcp://127.0.0.1:1"] {
        let mut options = options();
        options.host = host.to_owned();
        let error = gantry_executor::docker::DockerExecutor::connect(options).await.err().unwrap();
        assert!(matches!(&error, ExecutorError::Infrastructure(text) if text.contains(host)), "{error}");
    }
    let mut options = options();
    options.host = "ssh://somewhere".to_owned();
    let error = gantry_executor::docker::DockerExecutor::connect(options).await.err().unwrap();
    assert!(matches!(error, ExecutorError::Unsupported(_)), "{error}");
}

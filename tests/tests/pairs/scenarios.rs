//! What users do, and what they see. What is asked here is looked at there: at another replica, if there is one.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use gantry_api_types::log::Stream;
use gantry_api_types::problem::ProblemCode;
use gantry_api_types::request::{CreateRun, Retries, RetryOn};
use gantry_api_types::run::{ReasonCode, Run, Status, WaitingFor};
use gantry_client::{ApiClient, ByteRange, LogItem, LogQuery, RunFilter, TestFilter};
use gantry_domain::id::RunId;
use gantry_tests::eventually;

use crate::installations::{QUOTA, Running};

/// All scenarios, one after the other: a failure names its own.
pub async fn all(running: Running) {
    a_run_is_followed_to_its_end(&running).await;
    a_running_run_is_cancelled(&running).await;
    a_waiting_run_is_cancelled(&running).await;
    a_failing_run_is_retried_as_asked(&running).await;
    a_failing_engine_is_retried_and_given_up(&running).await;
    a_big_log_is_kept_exactly(&running).await;
    artifacts_and_results_come_back(&running).await;
    a_key_is_one_run(&running).await;
    a_group_runs_one_at_a_time(&running).await;
    a_finished_run_can_be_deleted(&running).await;
    lists_hold_every_run_once(&running).await;
    no_more_runs_wait_than_the_quota(&running).await;
}

fn fake(words: &[&str]) -> CreateRun {
    CreateRun {
        image: Some("fake:1".into()),
        command: Some(words.iter().map(|&word| word.to_owned()).collect()),
        artifacts: Some(vec![]),
        ..CreateRun::default()
    }
}

async fn create(client: &ApiClient, request: &CreateRun) -> RunId {
    let run = client.create_run(request, None).await.unwrap();
    assert!(matches!(run.status, Status::Pending | Status::Queued), "{run:?}");
    run.id.parse().unwrap()
}

async fn reaches(client: &ApiClient, id: RunId, status: Status) -> Run {
    eventually(&format!("{id} is {}", status.as_str()), || async {
        let run = client.get_run(id).await.unwrap();
        assert!(!run.status.is_final() || run.status == status, "{run:?}");
        (run.status == status).then_some(run)
    })
    .await
}

async fn a_run_is_followed_to_its_end(running: &Running) {
    let id = create(
        &running.here,
        &fake(&["fake:out=one\\n", "fake:sleep=300", "fake:err=two\\n", "fake:exit=3"]),
    )
    .await;
    let mut changes = Box::pin(running.there.run_events(id));
    let mut following = Box::pin(running.there.follow(id, None));
    let (mut output, mut next) = (Vec::new(), 0);
    let seen = loop {
        match following.next().await.unwrap().unwrap() {
            LogItem::Log(event) => {
                assert_eq!(event.offset, next);
                next += event.bytes().unwrap().len() as u64;
                if event.stream != Stream::System {
                    output.push((event.stream, String::from_utf8(event.bytes().unwrap().to_vec()).unwrap()));
                }
            }
            LogItem::End(run) => break run,
            LogItem::Attempt(_) | LogItem::Interrupted(_) => {}
        }
    };
    assert_eq!(output, [(Stream::Stdout, "one\n".to_owned()), (Stream::Stderr, "two\n".to_owned())]);
    assert_eq!((seen.status, seen.exit_code), (Status::Failed, Some(3)));
    let mut statuses = Vec::new();
    while let Some(run) = changes.next().await {
        let run = run.unwrap();
        statuses.push(run.status);
        if run.status.is_final() {
            break;
        }
    }
    assert_eq!(statuses.last(), Some(&Status::Failed), "{statuses:?}");
    let run = running.there.get_run(id).await.unwrap();
    assert_eq!((run.reason.unwrap().code, run.attempt), (ReasonCode::ExitCode, 1));
    assert!(run.created_at <= run.started_at.unwrap() && run.started_at <= run.finished_at);
    let attempts = running.here.attempts(id).await.unwrap().items;
    assert_eq!((attempts.len(), attempts[0].exit_code), (1, Some(3)));
}

async fn a_running_run_is_cancelled(running: &Running) {
    let id = create(&running.here, &fake(&["fake:out=begun\\n", "fake:hang"])).await;
    reaches(&running.there, id, Status::Running).await;
    let asked = Instant::now();
    running.there.cancel_run(id).await.unwrap();
    let run = reaches(&running.here, id, Status::Cancelled).await;
    assert_eq!(run.reason.unwrap().code, ReasonCode::Cancelled);
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
}

async fn a_waiting_run_is_cancelled(running: &Running) {
    let request = CreateRun { pool: Some("nobody".into()), ..fake(&["true"]) };
    let id = create(&running.here, &request).await;
    let run = running.there.get_run(id).await.unwrap();
    assert_eq!(run.waiting.unwrap().what, WaitingFor::Workers);
    running.there.cancel_run(id).await.unwrap();
    let run = reaches(&running.here, id, Status::Cancelled).await;
    assert_eq!(run.attempt, 0);
}

async fn a_failing_run_is_retried_as_asked(running: &Running) {
    let retries = Retries {
        max: Some(2),
        on: Some([RetryOn::Failed].into()),
        backoff_seconds: Some(0),
        max_lost: None,
    };
    let request = CreateRun { retries: Some(retries), ..fake(&["fake:exit=1"]) };
    let id = create(&running.here, &request).await;
    let run = reaches(&running.there, id, Status::Failed).await;
    assert_eq!(run.attempt, 3);
    let attempts = running.there.attempts(id).await.unwrap().items;
    assert!(attempts.iter().all(|attempt| attempt.status == Some(Status::Failed)), "{attempts:?}");
}

async fn a_failing_engine_is_retried_and_given_up(running: &Running) {
    let retries = Retries { max_lost: Some(1), ..Retries::default() };
    let request = CreateRun { retries: Some(retries), ..fake(&["fake:prepare=infrastructure"]) };
    let id = create(&running.here, &request).await;
    let run = reaches(&running.there, id, Status::Error).await;
    assert_eq!((run.attempt, run.reason.unwrap().code), (2, ReasonCode::Infrastructure));
}

async fn a_big_log_is_kept_exactly(running: &Running) {
    let id = create(&running.here, &fake(&["fake:fill=3000000", "fake:out=end\\n"])).await;
    reaches(&running.there, id, Status::Passed).await;
    let log = running.there.logs(id, LogQuery::default(), None).await.unwrap();
    let log = log.try_collect::<Vec<_>>().await.unwrap().concat();
    assert_eq!(log.len(), 3_000_004);
    assert!(log[..3_000_000].iter().all(|&byte| byte == b'x') && log.ends_with(b"xend\n"));
    // Once it is sealed it is the same.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let range = ByteRange::From(2_999_999);
    let end = running.here.logs(id, LogQuery::default(), Some(&range)).await.unwrap();
    assert_eq!(end.try_collect::<Vec<_>>().await.unwrap().concat(), b"xend\n");
}

async fn artifacts_and_results_come_back(running: &Running) {
    let junit = concat!(
        "fake:write=reports/junit.xml=<testsuite name=\"s\"><testcase name=\"good\" time=\"0.1\"/>",
        "<testcase name=\"bad\"><failure message=\"no\"/></testcase></testsuite>"
    );
    let request = CreateRun {
        artifacts: Some(vec!["reports".into()]),
        ..fake(&[junit, "fake:write=reports/page.html=<p>hi</p>", "fake:exit=1"])
    };
    let id = create(&running.here, &request).await;
    let run = reaches(&running.there, id, Status::Failed).await;
    assert_eq!((run.tests.total, run.tests.failed, run.artifacts.count), (2, 1, 2), "{:?}", run.warnings);
    let page = running.there.artifact(id, "reports/page.html").await.unwrap();
    assert_eq!(page.try_collect::<Vec<_>>().await.unwrap().concat(), b"<p>hi</p>");
    let tests: Vec<_> = running.there.all_tests(id, TestFilter::default()).try_collect().await.unwrap();
    assert_eq!(tests.len(), 2);
}

async fn a_key_is_one_run(running: &Running) {
    let request = fake(&["true"]);
    let key = format!("pair-{}", rand::random::<u64>());
    let first = running.here.create_run(&request, Some(&key)).await.unwrap();
    let again = running.there.create_run(&request, Some(&key)).await.unwrap();
    assert_eq!(first.id, again.id);
    let other = running.there.create_run(&fake(&["false"]), Some(&key)).await.unwrap_err();
    assert_eq!(other.code(), Some(ProblemCode::IdempotencyKeyReused));
    reaches(&running.here, first.id.parse().unwrap(), Status::Passed).await;
}

async fn a_group_runs_one_at_a_time(running: &Running) {
    let group = format!("g{}", rand::random::<u32>());
    let request = |words: &[&str]| CreateRun { group: Some(group.clone()), ..fake(words) };
    let first = create(&running.here, &request(&["fake:hang"])).await;
    reaches(&running.there, first, Status::Running).await;
    let second = create(&running.there, &request(&["true"])).await;
    eventually("the second waits for the limit", || async {
        let waiting = running.here.get_run(second).await.unwrap().waiting?;
        (waiting.what == WaitingFor::Limit).then_some(())
    })
    .await;
    running.here.cancel_run(first).await.unwrap();
    reaches(&running.there, second, Status::Passed).await;
}

async fn a_finished_run_can_be_deleted(running: &Running) {
    let id = create(&running.here, &fake(&["fake:out=x\\n"])).await;
    reaches(&running.there, id, Status::Passed).await;
    running.there.delete_run(id).await.unwrap();
    let gone = running.here.get_run(id).await.unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
}

async fn lists_hold_every_run_once(running: &Running) {
    let project = format!("p{}", rand::random::<u32>());
    let request = CreateRun { project: Some(project.clone()), ..fake(&["true"]) };
    let mut made = Vec::new();
    for _ in 0..12 {
        made.push(create(&running.here, &request).await.to_string());
    }
    let filter = RunFilter { project: Some(project), limit: Some(5), ..RunFilter::default() };
    let listed: Vec<Run> = running.there.all_runs(filter).try_collect().await.unwrap();
    made.reverse();
    assert_eq!(listed.iter().map(|run| run.id.clone()).collect::<Vec<_>>(), made, "newest first, each once");
    let mut numbers: Vec<u64> = listed.iter().map(|run| run.number).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), 12, "a number was given twice");
}

/// Of queued runs, by [`QUOTA`]: the refusal is the same at every replica, and room is used again.
async fn no_more_runs_wait_than_the_quota(running: &Running) {
    let request = CreateRun { pool: Some("nobody".into()), ..fake(&["true"]) };
    let mut waiting = Vec::new();
    let refused = loop {
        match running.here.create_run(&request, None).await {
            Ok(run) => waiting.push(run.id.parse::<RunId>().unwrap()),
            Err(error) => break error,
        }
        assert!(waiting.len() <= QUOTA, "{} runs wait", waiting.len());
    };
    assert_eq!(refused.code(), Some(ProblemCode::QuotaExceeded), "{refused}");
    assert_eq!(waiting.len(), QUOTA);
    let refused = running.there.create_run(&request, None).await.unwrap_err();
    assert_eq!(refused.code(), Some(ProblemCode::QuotaExceeded), "{refused}");
    running.here.cancel_run(waiting[0]).await.unwrap();
    let again = eventually("there is room again", || async {
        running.there.create_run(&request, None).await.ok().map(|run| run.id.parse::<RunId>().unwrap())
    })
    .await;
    for id in waiting.iter().skip(1).chain([&again]) {
        running.here.cancel_run(*id).await.unwrap();
    }
}

//! The life of a run, step by step: what each step allows, refuses and leaves behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gantry_domain::attempt::Observation;
use gantry_domain::id::{ClaimId, DispatchId, OrganizationId, RunId, WorkerId};
use gantry_domain::reason::ReasonCode;
use gantry_domain::results::TestSummary;
use gantry_domain::run::*;
use gantry_domain::spec::*;
use gantry_domain::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn pending(change: impl FnOnce(&mut RunSpec)) -> Run {
    let mut spec = RunSpec {
        project: None,
        image: Some("busybox:1.36".into()),
        command: Some(vec!["true".into()]),
        folder: None,
        environment: None,
        base_url: None,
        variables: BTreeMap::new(),
        secrets: vec![],
        group: None,
        labels: BTreeMap::new(),
        pool: Pool::default(),
        priority: Priority::Normal,
        timeout_seconds: 60,
        retries: RetryPolicy::default(),
        at_most_once: false,
        resources: Resources::default(),
        network: Network::default(),
        artifacts: vec![],
        workdir: None,
    };
    change(&mut spec);
    let trigger = Trigger { kind: TriggerKind::Api, actor: Actor::System, rerun_of: None, trace: None };
    Run { number: 1, ..Run::accepted(RunId::new(), OrganizationId::new(), spec, trigger, NOW) }
}

fn lease(run: &Run) -> Lease {
    let RunState::Queued { dispatch } = run.state else { panic!("not queued: {:?}", run.state) };
    Lease {
        worker: WorkerId::new(),
        dispatch,
        claim: ClaimId::new(),
        token: LeaseToken::from_bits(ClaimId::new().as_u128()),
        expires_at: NOW + Duration::from_secs(45),
        started: false,
    }
}

/// The run claimed, with its lease.
fn claimed(run: &Run) -> (Run, Lease) {
    let queued = run.dispatch(DispatchId::new(), vec!["key".into()], NOW).unwrap();
    let lease = lease(&queued);
    let Claimed::Granted(run) = queued.claim(lease.clone(), NOW).unwrap() else { panic!("not granted") };
    (run, lease)
}

fn ended(run: &Run, token: &LeaseToken, observed: Observation) -> (Run, Ended) {
    run.finish(token, &observed, AttemptReport::default(), NOW + Duration::from_secs(5)).unwrap()
}

fn exited(code: i64) -> Observation {
    Observation::Exited { code, oom_killed: false }
}

fn verdict(run: &Run) -> (Verdict, ReasonCode) {
    match &run.state {
        RunState::Finished { verdict, reason } => (*verdict, reason.code),
        other => panic!("not over: {other:?}"),
    }
}

#[test]
fn every_write_counts_the_version_and_keeps_the_rest() {
    let run = pending(|_| {});
    let (running, lease) = claimed(&run);
    assert_eq!((running.version, running.attempt(), running.holding.len()), (3, 1, 1));
    let started = running.start(&lease.token, NOW).unwrap().unwrap();
    let analyzing = started.analyze(&lease.token, NOW).unwrap().unwrap();
    let (over, end) = ended(&analyzing, &lease.token, exited(0));
    assert_eq!((over.version, end), (6, Ended::Final(Verdict::Passed)));
    assert_eq!(verdict(&over), (Verdict::Passed, ReasonCode::Completed));
    assert!(over.holding.is_empty(), "places are given back with the end");
    assert_eq!((over.id, over.number, &over.spec), (run.id, run.number, &run.spec));
}

#[test]
fn only_the_current_dispatch_claims_and_the_same_claim_again_is_repeated() {
    let queued = pending(|_| {}).dispatch(DispatchId::new(), vec![], NOW).unwrap();
    let stale = Lease { dispatch: DispatchId::new(), ..lease(&queued) };
    assert_eq!(queued.claim(stale, NOW), Err(Refused::Stale));
    let good = lease(&queued);
    let Claimed::Granted(running) = queued.claim(good.clone(), NOW).unwrap() else { panic!() };
    assert_eq!(running.claim(good.clone(), NOW), Ok(Claimed::Repeated));
    let rival = Lease { claim: ClaimId::new(), ..good };
    assert_eq!(running.claim(rival, NOW), Err(Refused::Stale));
}

#[test]
fn a_stale_attempt_cannot_write() {
    let (running, _) = claimed(&pending(|_| {}));
    let wrong = LeaseToken::from_bits(0);
    assert_eq!(running.start(&wrong, NOW).err(), Some(Refused::Stale));
    assert_eq!(running.analyze(&wrong, NOW).err(), Some(Refused::Stale));
    assert_eq!(running.record(&wrong, |_| {}).err(), Some(Refused::Stale));
    assert!(running.finish(&wrong, &exited(0), AttemptReport::default(), NOW).is_err());
}

#[test]
fn what_the_container_did_decides_what_the_run_says() {
    let oom = |code| Observation::Exited { code, oom_killed: true };
    let detail = || "x".to_owned();
    for (observed, expected) in [
        (exited(0), (Verdict::Passed, ReasonCode::Completed)),
        (exited(3), (Verdict::Failed, ReasonCode::ExitCode)),
        (oom(0), (Verdict::Passed, ReasonCode::Completed)),
        (oom(137), (Verdict::Failed, ReasonCode::OutOfMemory)),
        (oom(1), (Verdict::Failed, ReasonCode::OutOfMemory)),
        (exited(137), (Verdict::Failed, ReasonCode::Killed)),
        (exited(126), (Verdict::Error, ReasonCode::BadCommand)),
        (exited(127), (Verdict::Error, ReasonCode::BadCommand)),
        (Observation::TimedOut { limit_seconds: 60 }, (Verdict::TimedOut, ReasonCode::Timeout)),
        (Observation::BadCommand { detail: detail() }, (Verdict::Error, ReasonCode::BadCommand)),
        (Observation::ImageNotFound { detail: detail() }, (Verdict::Error, ReasonCode::ImageNotFound)),
        (Observation::ImageDenied { detail: detail() }, (Verdict::Error, ReasonCode::ImageDenied)),
        (
            Observation::RegistryUnreachable { detail: detail() },
            (Verdict::Error, ReasonCode::RegistryUnreachable),
        ),
    ] {
        let (running, lease) = claimed(&pending(|_| {}));
        let (over, _) = ended(&running, &lease.token, observed.clone());
        assert_eq!(verdict(&over), expected, "{observed:?}");
        let warned = over.attempts[0].warnings.iter().any(|warning| warning.code == "child_oom");
        assert_eq!(warned, observed == oom(0), "{observed:?}");
    }
}

#[test]
fn failed_tests_make_a_success_unstable() {
    let (running, lease) = claimed(&pending(|_| {}));
    for (tests, code) in [
        (TestSummary { total: 3, passed: 2, failed: 1, ..Default::default() }, ReasonCode::TestsFailed),
        (TestSummary { total: 3, passed: 2, flaky: 1, ..Default::default() }, ReasonCode::PassedAfterRetry),
    ] {
        let report = AttemptReport { tests, ..Default::default() };
        let (over, _) = running.finish(&lease.token, &exited(0), report, NOW).unwrap();
        assert_eq!(verdict(&over), (Verdict::Unstable, code));
    }
}

#[test]
fn listed_outcomes_are_tried_again_with_growing_pauses_until_used_up() {
    let mut run = pending(|spec| {
        spec.retries =
            RetryPolicy { max: 2, on: BTreeSet::from([RetryOn::Failed]), backoff_seconds: 10, max_lost: 0 };
    });
    let end = NOW + Duration::from_secs(5);
    for pause in [10, 20] {
        let (running, lease) = claimed(&run);
        let (next, outcome) = ended(&running, &lease.token, exited(1));
        assert_eq!(outcome, Ended::RetryAt(end + Duration::from_secs(pause)));
        run = next.hold(Hold::Workers).unwrap();
    }
    let (running, lease) = claimed(&run);
    let (over, _) = ended(&running, &lease.token, exited(1));
    assert_eq!(verdict(&over), (Verdict::Failed, ReasonCode::ExitCode));
    assert_eq!((over.attempt(), over.retries_used, over.losses), (3, 2, 0));
    let numbers: Vec<_> = over.attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn a_pass_after_a_failed_attempt_is_unstable_but_after_a_lost_one_it_is_a_pass() {
    let retrying = |max, max_lost| {
        pending(move |spec| {
            spec.retries = RetryPolicy { max, max_lost, backoff_seconds: 0, ..Default::default() }
        })
    };
    let (running, lease) = claimed(&retrying(1, 0));
    let (again, _) = ended(&running, &lease.token, exited(1));
    let (running, lease) = claimed(&again);
    assert_eq!(verdict(&ended(&running, &lease.token, exited(0)).0).0, Verdict::Unstable);

    let (running, _) = claimed(&retrying(0, 1));
    let (again, _) = running.lose(0, NOW).unwrap();
    let (running, lease) = claimed(&again);
    assert_eq!(verdict(&ended(&running, &lease.token, exited(0)).0).0, Verdict::Passed);
}

#[test]
fn lost_attempts_use_up_their_own_retries_and_end_as_lost() {
    let mut run = pending(|spec| spec.retries.max_lost = 2);
    for _ in 0..2 {
        let (running, _) = claimed(&run);
        let (next, outcome) = running.lose(7, NOW).unwrap();
        assert!(matches!(outcome, Ended::RetryAt(_)));
        assert_eq!(next.last_attempt().unwrap().log.end, Some(7));
        run = match next.state {
            RunState::Pending { hold: Hold::Workers } => next,
            _ => next.hold(Hold::Workers).unwrap(),
        };
    }
    let (running, _) = claimed(&run);
    let (over, _) = running.lose(0, NOW).unwrap();
    assert_eq!(verdict(&over), (Verdict::Error, ReasonCode::Lost));
    assert_eq!((over.retries_used, over.losses), (0, 2));
}

#[test]
fn a_run_that_held_places_gives_them_back_before_it_is_ready_again() {
    let (running, _) = claimed(&pending(|_| {}));
    let (unlimited, limited) = (Run { holding: vec![], ..running.clone() }, running);
    let again = unlimited.lose(0, NOW).unwrap().0;
    assert_eq!(again.state, RunState::Pending { hold: Hold::Workers });
    let again = limited.lose(0, NOW).unwrap().0;
    assert_eq!(again.state, RunState::Pending { hold: Hold::Due { at: NOW } });
}

#[test]
fn at_most_once_forbids_a_restart_after_an_acknowledged_start_only() {
    let run = pending(|spec| spec.at_most_once = true);
    let (running, _) = claimed(&run);
    assert!(matches!(running.lose(0, NOW).unwrap().1, Ended::RetryAt(_)), "it never started");
    let (running, lease) = claimed(&run);
    let started = running.start(&lease.token, NOW).unwrap().unwrap();
    let (over, _) = started.lose(0, NOW).unwrap();
    assert_eq!(verdict(&over), (Verdict::Error, ReasonCode::Lost));
}

#[test]
fn a_start_that_nobody_told_of_is_when_preparing_ended() {
    let (running, lease) = claimed(&pending(|_| {}));
    let timings = |prepare_ms, execute_ms| Timings { prepare_ms, execute_ms, collect_ms: None };
    let end = |run: &Run, timings| {
        let report = AttemptReport { timings, ..AttemptReport::default() };
        run.finish(&lease.token, &exited(0), report, NOW + Duration::from_secs(5)).unwrap().0
    };
    let started_at = |run: Run| run.last_attempt().unwrap().started_at;
    assert_eq!(started_at(end(&running, timings(Some(20), Some(7)))), Some(NOW + Duration::from_millis(20)));
    let late = end(&running, timings(Some(60_000), Some(7)));
    assert_eq!(started_at(late), Some(NOW + Duration::from_secs(5)), "not after its end");
    assert_eq!(started_at(end(&running, timings(Some(20), None))), None, "it never started");
    let told = running.start(&lease.token, NOW + Duration::from_secs(1)).unwrap().unwrap();
    assert_eq!(started_at(end(&told, timings(Some(20), Some(7)))), Some(NOW + Duration::from_secs(1)));
}

#[test]
fn cancel_ends_a_waiting_run_at_once_and_a_running_one_through_its_worker() {
    let run = pending(|_| {});
    let over = run.cancel(Actor::System, NOW).unwrap().unwrap();
    assert_eq!(verdict(&over), (Verdict::Cancelled, ReasonCode::Cancelled));
    assert_eq!(over.cancel(Actor::System, NOW), Err(Refused::WrongState(RunStatus::Cancelled)));

    let (running, lease) = claimed(&run);
    let cancelling = running.cancel(Actor::System, NOW).unwrap().unwrap();
    assert_eq!(cancelling.status(), RunStatus::Running);
    assert_eq!(cancelling.cancel(Actor::System, NOW), Ok(None), "asking twice is fine");
    for observed in [Observation::Cancelled, Observation::HandedBack] {
        assert_eq!(verdict(&ended(&cancelling, &lease.token, observed).0).0, Verdict::Cancelled);
    }
    assert_eq!(
        verdict(&cancelling.lose(0, NOW).unwrap().0).0,
        Verdict::Cancelled,
        "no retry for a cancelled run"
    );
    let (over, _) = ended(&cancelling, &lease.token, exited(0));
    assert_eq!(verdict(&over).0, Verdict::Passed, "it had ended by itself before the cancel came through");
}

#[test]
fn final_states_allow_nothing() {
    for status in RunStatus::ALL.into_iter().filter(|status| status.is_final()) {
        assert!(RunStatus::ALL.into_iter().all(|next| !status.can_become(next)));
    }
    let over = pending(|_| {}).give_up_waiting(Duration::from_secs(1), NOW).unwrap();
    assert_eq!(verdict(&over), (Verdict::TimedOut, ReasonCode::QueueTimeout));
    assert!(over.dispatch(DispatchId::new(), vec![], NOW).is_err());
    assert!(over.hold(Hold::Paused).is_err());
    assert!(over.lose(0, NOW).is_err());
}

#[test]
fn every_reason_has_a_name_and_says_what_to_do() {
    for code in ReasonCode::ALL {
        assert!(!code.hint().is_empty());
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
}

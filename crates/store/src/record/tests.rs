use gantry_domain::attempt::{ArtifactSummary, Observation, Warning};
use gantry_domain::id::{ClaimId, DispatchId, KeyId, OrganizationId, RunId, WorkerId};
use gantry_domain::results::TestSummary;
use gantry_domain::run::{
    Actor, AttemptReport, Claimed, Hold, Lease, LeaseToken, Run, RunState, Timings, Trigger, TriggerKind,
};
use gantry_domain::time::Timestamp;
use gantry_domain::trace::TraceContext;

use super::*;
use crate::contract::fixtures::spec;

/// A run as it was written by the first version. It must stay readable; never edit it.
const FIRST: &str = r#"{"v":1,"created_at":1767225600000,"queued_at":1767225601000,"state":{"running":{"lease":{"worker":"wrk_00000000000000000000000001","dispatch":"dsp_00000000000000000000000002","claim":"clm_00000000000000000000000003","token":"00000000000000000000000000000004","expires_at":1767225645000}}},"trigger":{"kind":"api","actor":{"key":"key_00000000000000000000000005"}},"attempts":[{"number":1,"worker":"wrk_00000000000000000000000001","claimed_at":1767225602000}],"spec":{"image":"busybox:1.36","command":["true"],"pool":"default","priority":"normal","timeout_seconds":60,"retries":{"max":0,"on":["failed","timed_out"],"backoff_seconds":10,"max_lost":2},"resources":{"cpu_millis":2000,"memory_mb":2048,"pids":512}}}"#;

/// The same for a run that has everything, but for what [`FIRST`] has.
const FIRST_OVER: &str = r#"{"v":1,"created_at":1767225600000,"queued_at":1767225601000,"finished_at":1767225606000,"state":{"finished":{"verdict":"failed","reason":{"code":"exit_code","message":"The command exited with code 3."}}},"trigger":{"kind":"api","actor":{"key":"key_00000000000000000000000005"},"rerun_of":"run_00000000000000000000000006"},"cancel":{"by":"system","at":1767225604000},"attempts":[{"number":1,"worker":"wrk_00000000000000000000000001","claimed_at":1767225602000,"started_at":1767225603000,"exited_at":1767225605000,"finished_at":1767225606000,"timings":{"prepare_ms":1,"execute_ms":2,"collect_ms":null},"outcome":{"verdict":"failed","reason":{"code":"exit_code","message":"The command exited with code 3."},"exit_code":3},"log":{"end":70000,"truncated":true,"sealed":true,"chunks_until":1767225607000},"tests":{"total":4,"passed":1,"failed":1,"skipped":1,"flaky":1},"artifacts":{"count":2,"bytes":9},"warnings":[{"code":"w","message":"of the attempt"}]}],"retries_used":1,"losses":2,"warnings":[{"code":"w","message":"of the run"}],"spec":{"project":"shop","image":"busybox:1.36","command":["true"],"folder":"smoke","environment":"staging","base_url":"https://shop.example","variables":{"A":"1"},"secrets":["TOKEN"],"group":"nightly","labels":{"team":"blue"},"pool":"default","priority":"normal","timeout_seconds":60,"retries":{"max":0,"on":["failed","timed_out"],"backoff_seconds":10,"max_lost":2},"at_most_once":true,"resources":{"cpu_millis":2000,"memory_mb":2048,"pids":512},"artifacts":["junit.xml"],"workdir":"/srv"}}"#;

fn head(lease_expires_at: Option<Timestamp>) -> Head {
    let (id, organization) = (RunId::from_u128(8), OrganizationId::from_u128(9));
    Head { id, organization, number: 3, version: 5, lease_expires_at }
}

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + seconds * 1000)
}

fn running() -> Run {
    let lease = Lease {
        worker: WorkerId::from_u128(1),
        dispatch: DispatchId::from_u128(2),
        claim: ClaimId::from_u128(3),
        token: LeaseToken::from_bits(4),
        expires_at: second(45),
        started: false,
    };
    let pending = Run {
        id: RunId::from_u128(8),
        organization: OrganizationId::from_u128(9),
        number: 3,
        version: 3,
        spec: spec(),
        trigger: Trigger {
            kind: TriggerKind::Api,
            actor: Actor::Key(KeyId::from_u128(5)),
            rerun_of: None,
            trace: None,
        },
        created_at: second(0),
        queued_at: None,
        finished_at: None,
        state: RunState::Pending { hold: Hold::Workers },
        cancel: None,
        attempts: vec![],
        retries_used: 0,
        losses: 0,
        holding: vec![],
        warnings: vec![],
    };
    let queued = pending.dispatch(lease.dispatch, vec![], second(1)).unwrap();
    let Claimed::Granted(run) = queued.claim(lease, second(2)).unwrap() else { panic!("not granted") };
    run
}

fn over() -> Run {
    let mut run = running();
    run.spec.project = Some("shop".into());
    run.spec.folder = Some("smoke".into());
    run.spec.environment = Some("staging".into());
    run.spec.base_url = Some("https://shop.example".into());
    run.spec.variables.insert("A".into(), "1".into());
    run.spec.secrets.push("TOKEN".into());
    run.spec.group = Some("nightly".into());
    run.spec.labels.insert("team".into(), "blue".into());
    run.spec.at_most_once = true;
    run.spec.artifacts.push("junit.xml".into());
    run.spec.workdir = Some("/srv".into());
    run.trigger.rerun_of = Some(RunId::from_u128(6));
    run.holding = vec!["limit".into()];
    run.warnings = vec![Warning::new("w", "of the run")];
    (run.retries_used, run.losses) = (1, 2);
    let token = LeaseToken::from_bits(4);
    let run = run.start(&token, second(3)).unwrap().unwrap();
    let run = run.cancel(Actor::System, second(4)).unwrap().unwrap();
    let run = run.analyze(&token, second(5)).unwrap().unwrap();
    let report = AttemptReport {
        log_end: 70_000,
        log_truncated: true,
        tests: TestSummary { total: 4, passed: 1, failed: 1, skipped: 1, flaky: 1 },
        warnings: vec![Warning::new("w", "of the attempt")],
        timings: Timings { prepare_ms: Some(1), execute_ms: Some(2), collect_ms: None },
    };
    let exited = Observation::Exited { code: 3, oom_killed: false };
    let (mut run, _) = run.finish(&token, &exited, report, second(6)).unwrap();
    run.attempts[0].artifacts = ArtifactSummary { count: 2, bytes: 9 };
    run.attempts[0].warnings.truncate(1);
    Run { version: 5, ..run.log_sealed(1, second(7)).unwrap() }
}

#[test]
fn what_the_first_version_wrote_stays_readable() {
    assert_eq!(decode_run(head(None), FIRST.as_bytes()).unwrap(), running());
    assert_eq!(decode_run(head(None), FIRST_OVER.as_bytes()).unwrap(), over());
}

#[test]
fn a_run_is_written_as_the_first_version_did() {
    assert_eq!(String::from_utf8(encode_run(&running()).unwrap()).unwrap(), FIRST);
    assert_eq!(String::from_utf8(encode_run(&over()).unwrap()).unwrap(), FIRST_OVER);
}

#[test]
fn the_trace_of_the_request_is_kept_and_a_damaged_one_costs_nothing_else() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut run = running();
    run.trigger.trace = TraceContext::new(parent, Some("vendor=1"));
    let document = String::from_utf8(encode_run(&run).unwrap()).unwrap();
    assert_eq!(decode_run(head(None), document.as_bytes()).unwrap(), run);
    let damaged = document.replace(parent, "00-nonsense");
    assert_eq!(decode_run(head(None), damaged.as_bytes()).unwrap(), running());
}

#[test]
fn a_renewed_lease_wins_over_the_document() {
    let run = decode_run(head(Some(second(99))), FIRST.as_bytes()).unwrap();
    assert_eq!(run.state.lease().unwrap().expires_at, second(99));
}

#[test]
fn fields_of_a_newer_program_are_tolerated() {
    let newer = FIRST
        .replacen("{\"v\":1,", "{\"v\":1,\"mood\":{\"x\":[1]},", 1)
        .replace("\"pids\":", "\"gpus\":2,\"pids\":");
    assert_ne!(newer, FIRST);
    assert_eq!(decode_run(head(None), newer.as_bytes()).unwrap(), running());
}

#[test]
fn a_document_of_an_unknown_version_says_so() {
    let newer = FIRST.replacen("\"v\":1", "\"v\":7", 1);
    for document in [newer.as_str(), r#"{"v":7,"all":"else is different"}"#] {
        let error = decode_run(head(None), document.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("version 7") && error.contains("use a newer version of Gantry"), "{error}");
    }
    for damaged in [&FIRST[..FIRST.len() / 2], "", "[]", "{\"v\":1}"] {
        assert!(
            matches!(decode_run(head(None), damaged.as_bytes()), Err(StoreError::Corrupt(_))),
            "{damaged}"
        );
    }
}

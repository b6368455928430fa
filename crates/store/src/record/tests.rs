use gantry_domain::id::{ClaimId, DispatchId, KeyId, OrganizationId, RunId, WorkerId};
use gantry_domain::run::{Actor, Claimed, Hold, Lease, LeaseToken, Run, RunState, Trigger, TriggerKind};
use gantry_domain::time::Timestamp;

use super::*;
use crate::contract::fixtures::spec;

/// A run as it was written by the first version. It must stay readable; never edit it.
const FIRST: &str = r#"{"v":1,"created_at":1767225600000,"queued_at":1767225601000,"state":{"running":{"lease":{"worker":"wrk_00000000000000000000000001","dispatch":"dsp_00000000000000000000000002","claim":"clm_00000000000000000000000003","token":"00000000000000000000000000000004","expires_at":1767225645000}}},"trigger":{"kind":"api","actor":{"key":"key_00000000000000000000000005"}},"attempts":[{"number":1,"worker":"wrk_00000000000000000000000001","claimed_at":1767225602000}],"spec":{"image":"busybox:1.36","command":["true"],"pool":"default","priority":"normal","timeout_seconds":60,"retries":{"max":0,"on":["failed","timed_out"],"backoff_seconds":10,"max_lost":2},"resources":{"cpu_millis":2000,"memory_mb":2048,"pids":512}}}"#;

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
        trigger: Trigger { kind: TriggerKind::Api, actor: Actor::Key(KeyId::from_u128(5)), rerun_of: None },
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

#[test]
fn what_the_first_version_wrote_stays_readable() {
    assert_eq!(decode_run(head(None), FIRST.as_bytes()).unwrap(), running());
}

#[test]
fn a_run_is_written_as_the_first_version_did() {
    assert_eq!(String::from_utf8(encode_run(&running()).unwrap()).unwrap(), FIRST);
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

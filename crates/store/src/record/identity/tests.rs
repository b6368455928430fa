use gantry_domain::id::*;
use gantry_domain::identity::invitation::{InvitationState, Invite};
use gantry_domain::identity::session::{Client, Ended, EndedWhy};
use gantry_domain::identity::*;
use gantry_domain::permission::Scope;
use gantry_domain::role::Role;
use gantry_domain::run::Actor;
use gantry_domain::time::Timestamp;

use super::*;
use crate::{Result, StoreError};

/// Records as they were written by the first version, with `…` for 25 zeros. They must stay readable; never edit them.
const USER: &str = r#"{"v":1,"id":"usr_…1","version":2,"email":"ann@example.com","name":"Ann","password":"$argon2id$x","created_at":1767225600000,"password_changed_at":1767225601000,"epoch":3,"disabled_at":1767225602000}"#;
const ORGANIZATION: &str = r#"{"v":1,"id":"org_…2","version":2,"name":"acme","limits":{"api_per_minute":1,"run_creations_per_minute":2,"concurrent_runs":3,"queued_runs":4,"artifact_bytes":5,"log_bytes":6},"created_at":1767225600000,"members":[{"user":"usr_…1","role":"admin","since":1767225600000}]}"#;
const KEY: &str = r#"{"v":1,"id":"key_…3","version":2,"organization":"org_…2","owner":"usr_…1","name":"ci","scopes":["runs:read","admin"],"secret_hash":"0101010101010101010101010101010101010101010101010101010101010101","prefix":"gantry_ab","created_at":1767225600000,"expires_at":1767225601000,"rotated_at":1767225602000,"revoked_at":1767225603000}"#;
const SESSION: &str = r#"{"v":1,"id":"ses_…4","version":2,"user":"usr_…1","epoch":3,"organization":"org_…2","family_hash":"0101010101010101010101010101010101010101010101010101010101010101","current_hash":"0202020202020202020202020202020202020202020202020202020202020202","previous_hash":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","address":"192.0.2.1","agent":"curl","begun_at":1767225600000,"refreshed_at":1767225601000,"expires_at":1767225602000,"ended":{"at":1767225603000,"why":"reused"}}"#;
const INVITATION: &str = r#"{"v":1,"id":"inv_…5","version":2,"organization":"org_…2","email":"ann@example.com","role":"maintainer","invited_by":"usr_…1","token_hash":"0101010101010101010101010101010101010101010101010101010101010101","created_at":1767225600000,"sent_at":1767225601000,"expires_at":1767225602000,"state":{"accepting":{"user":"usr_…6","at":1767225603000}}}"#;
const RESET: &str = r#"{"v":1,"id":"rst_…7","version":2,"user":"usr_…1","token_hash":"0101010101010101010101010101010101010101010101010101010101010101","created_at":1767225600000,"expires_at":1767225601000,"used_at":1767225602000}"#;
const ENTRY: &str = r#"{"v":1,"id":"aud_…8","at":1767225600000,"organization":"org_…2","actor":{"user":"usr_…1"},"action":"member_removed","target":"usr_…6","address":"192.0.2.1","outcome":"refused","detail":{"why":"the last admin"}}"#;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + seconds * 1000)
}

fn ann() -> UserId {
    UserId::from_u128(1)
}

fn acme() -> OrganizationId {
    OrganizationId::from_u128(2)
}

fn user() -> User {
    User {
        id: ann(),
        version: 2,
        email: "ann@example.com".parse().unwrap(),
        name: "Ann".into(),
        password: PasswordHash::from_phc("$argon2id$x"),
        created_at: at(0),
        password_changed_at: at(1),
        epoch: 3,
        disabled_at: Some(at(2)),
    }
}

fn organization() -> Organization {
    let limits = OrganizationLimits {
        api_per_minute: Some(1),
        run_creations_per_minute: Some(2),
        concurrent_runs: Some(3),
        queued_runs: Some(4),
        artifact_bytes: Some(5),
        log_bytes: Some(6),
    };
    Organization::found(acme(), "acme".into(), ann(), at(0)).limit(limits)
}

fn key() -> ApiKey {
    let scopes = [Scope::Admin, Scope::RunsRead];
    ApiKey {
        id: KeyId::from_u128(3),
        version: 2,
        expires_at: Some(at(1)),
        rotated_at: Some(at(2)),
        revoked_at: Some(at(3)),
        ..ApiKey::new(acme(), ann(), "ci", scopes, [1; 32], "gantry_ab".into(), at(0))
    }
}

fn session() -> Session {
    Session {
        id: SessionId::from_u128(4),
        version: 2,
        user: ann(),
        epoch: 3,
        organization: Some(acme()),
        family_hash: [1; 32],
        current_hash: [2; 32],
        previous_hash: Some([255; 32]),
        client: Client { address: "192.0.2.1".into(), agent: "curl".into() },
        begun_at: at(0),
        refreshed_at: at(1),
        expires_at: at(2),
        ended: Some(Ended { at: at(3), why: EndedWhy::Reused }),
    }
}

fn invitation() -> Invitation {
    let email = "ann@example.com".parse().unwrap();
    let invite = Invite { organization: acme(), email, role: Role::Maintainer, invited_by: ann() };
    Invitation {
        id: InvitationId::from_u128(5),
        version: 2,
        sent_at: at(1),
        expires_at: at(2),
        state: InvitationState::Accepting { user: UserId::from_u128(6), at: at(3) },
        ..Invitation::new(invite, [1; 32], at(0))
    }
}

fn reset() -> PasswordReset {
    PasswordReset {
        id: ResetId::from_u128(7),
        version: 2,
        expires_at: at(1),
        used_at: Some(at(2)),
        ..PasswordReset::new(ann(), [1; 32], at(0))
    }
}

fn entry() -> AuditEntry {
    let entry = AuditEntry::new(AuditAction::MemberRemoved, Outcome::Refused, at(0))
        .organization(acme())
        .by(Actor::User(ann()))
        .to(UserId::from_u128(6))
        .from_address("192.0.2.1")
        .with("why", "the last admin");
    AuditEntry { id: AuditId::from_u128(8), ..entry }
}

/// Written as then, and read as then; and a record of a version that nobody knows says so.
fn pinned<T: PartialEq + std::fmt::Debug>(
    golden: &str,
    value: &T,
    encode: fn(&T) -> Result<Vec<u8>>,
    decode: fn(&[u8]) -> Result<T>,
) {
    let golden = golden.replace('…', &"0".repeat(25));
    assert_eq!(String::from_utf8(encode(value).unwrap()).unwrap(), golden);
    assert_eq!(decode(golden.as_bytes()).unwrap(), *value);
    let newer = golden.replacen("{\"v\":1,", "{\"v\":1,\"mood\":[1],", 1);
    assert_eq!(decode(newer.as_bytes()).unwrap(), *value, "fields of a newer program are tolerated");
    let unknown = decode(golden.replacen("\"v\":1", "\"v\":7", 1).as_bytes()).unwrap_err().to_string();
    assert!(unknown.contains("version 7") && unknown.contains("use a newer version"), "{unknown}");
    for damaged in [&golden[..golden.len() / 2], "", "[]", "{\"v\":1}"] {
        assert!(matches!(decode(damaged.as_bytes()), Err(StoreError::Corrupt(_))), "{damaged}");
    }
}

#[test]
fn records_are_written_and_read_as_the_first_version_did() {
    pinned(USER, &user(), encode_user, decode_user);
    pinned(ORGANIZATION, &organization(), encode_organization, decode_organization);
    pinned(KEY, &key(), encode_key, decode_key);
    pinned(SESSION, &session(), encode_session, decode_session);
    pinned(INVITATION, &invitation(), encode_invitation, decode_invitation);
    pinned(RESET, &reset(), encode_reset, decode_reset);
    pinned(ENTRY, &entry(), encode_entry, decode_entry);
}

#[test]
fn a_damaged_hash_is_refused() {
    for damaged in ["01", &"0".repeat(63), &"zz".repeat(32), &"é".repeat(32)] {
        let record = KEY.replace('…', &"0".repeat(25)).replace(&"01".repeat(32), damaged);
        assert!(matches!(decode_key(record.as_bytes()), Err(StoreError::Corrupt(_))), "{damaged}");
    }
}

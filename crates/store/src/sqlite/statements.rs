//! Every statement, in one place, so that a test can ask SQLite for the plan of each and refuse one that scans `runs`.

macro_rules! statements {
    ($($name:ident = $($sql:literal)+;)*) => {
        $(pub(super) const $name: &str = concat!($($sql, " ",)+);)*

        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

statements! {
    // --- runs: single ones
    INSERT_RUN = "INSERT INTO runs (id, organization, number, version, status, pool, turn, project, environment, grp,"
        "created_at, waits, due_at, limit_key, queued_since, worker, lease_token, lease_expires_at, cancel,"
        "log_due, idempotency_key, idempotency_hash, record)"
        "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23)";
    UPDATE_RUN = "UPDATE runs SET version=?2, status=?3, waits=?4, due_at=?5, limit_key=?6, queued_since=?7, worker=?8,"
        "lease_token=?9, lease_expires_at=?10, cancel=?11, log_due=?12, record=?13 WHERE seq=?1";
    STANDING = "SELECT seq, version, status, lease_token, lease_expires_at, organization, grp FROM runs WHERE id=?1";
    REGROUP_RUN = "UPDATE runs SET grp=?2 WHERE seq=?1";
    DELETE_RUN = "DELETE FROM runs WHERE seq=?1 RETURNING pool";
    RUN_BY_ID = "SELECT id, organization, number, version, lease_expires_at, record FROM runs WHERE id=?1";
    RUN_OF = "SELECT id, organization, number, version, lease_expires_at, record FROM runs"
        "WHERE id=?1 AND +organization=?2";
    RUN_BY_IDEMPOTENCY = "SELECT id, organization, number, version, lease_expires_at, record, idempotency_hash FROM runs"
        "WHERE organization=?1 AND idempotency_key=?2";
    FORGET_IDEMPOTENCY = "UPDATE runs SET idempotency_key=NULL, idempotency_hash=NULL WHERE seq IN"
        "(SELECT seq FROM runs WHERE idempotency_key IS NOT NULL AND created_at<?1 LIMIT ?2)";
    RENEW_LEASE = "UPDATE runs SET lease_expires_at=max(lease_expires_at, ?4)"
        "WHERE id=?1 AND worker=?2 AND lease_token=?3 RETURNING cancel";
    LAST_NUMBER = "SELECT last FROM numbers WHERE organization=?1";
    SET_LAST_NUMBER = "INSERT INTO numbers (organization, last) VALUES (?1,?2)"
        "ON CONFLICT (organization) DO UPDATE SET last=max(last, excluded.last)";

    // --- runs: for reconcilers
    EXPIRED = "SELECT id, organization, number, version, lease_expires_at, record FROM runs"
        "WHERE lease_expires_at IS NOT NULL AND lease_expires_at<?1 ORDER BY lease_expires_at LIMIT ?2";
    LEASED = "SELECT id, organization, number, version, lease_expires_at, record FROM runs"
        "WHERE lease_expires_at IS NOT NULL ORDER BY lease_expires_at LIMIT ?1";
    LEASED_TO = "SELECT id, organization, number, version, lease_expires_at, record FROM runs INDEXED BY runs_leased"
        "WHERE lease_expires_at IS NOT NULL AND worker=?2 ORDER BY lease_expires_at LIMIT ?1";
    DUE = "SELECT id, organization, number, version, lease_expires_at, record FROM runs"
        "WHERE waits=1 AND due_at<=?1 ORDER BY due_at LIMIT ?2";
    NEXT_DUE = "SELECT due_at FROM runs WHERE waits=1 AND due_at>?1 ORDER BY due_at LIMIT 1";
    UNCLAIMED = "SELECT id, organization, number, version, lease_expires_at, record FROM runs"
        "WHERE queued_since IS NOT NULL AND queued_since<?1 ORDER BY queued_since LIMIT ?2";
    WAITING_SINCE = "SELECT id, organization, number, version, lease_expires_at, record FROM runs"
        "WHERE status<2 AND created_at<?1 ORDER BY created_at LIMIT ?2";
    LOGS_DUE = "SELECT id, organization, number, version, lease_expires_at, record FROM runs"
        "WHERE log_due IS NOT NULL AND log_due<?1 ORDER BY log_due LIMIT ?2";
    AHEAD_OF = "SELECT count(*) FROM (SELECT 1 FROM runs WHERE waits=0 AND pool=?1 AND organization=?2"
        "AND (turn, id) < (?3, ?4) LIMIT 1000)";

    // --- runs: lists, newest first
    LIST_ALL = "SELECT id, organization, number, version, lease_expires_at, record, status, project, environment, grp,"
        "created_at FROM runs INDEXED BY runs_by_organization WHERE organization=?1 AND id<?2 ORDER BY id DESC LIMIT ?3";
    LIST_STATUS = "SELECT id, organization, number, version, lease_expires_at, record, status, project, environment, grp,"
        "created_at FROM runs INDEXED BY runs_by_status WHERE organization=?1 AND id<?2 AND status=?4"
        "ORDER BY id DESC LIMIT ?3";
    LIST_PROJECT = "SELECT id, organization, number, version, lease_expires_at, record, status, project, environment, grp,"
        "created_at FROM runs INDEXED BY runs_by_project WHERE organization=?1 AND id<?2 AND project=?4"
        "ORDER BY id DESC LIMIT ?3";
    LIST_ENVIRONMENT = "SELECT id, organization, number, version, lease_expires_at, record, status, project, environment,"
        "grp, created_at FROM runs INDEXED BY runs_by_environment WHERE organization=?1 AND id<?2 AND environment=?4"
        "ORDER BY id DESC LIMIT ?3";
    LIST_GROUP = "SELECT id, organization, number, version, lease_expires_at, record, status, project, environment, grp,"
        "created_at FROM runs INDEXED BY runs_by_group WHERE organization=?1 AND id<?2 AND grp=?4"
        "ORDER BY id DESC LIMIT ?3";
    NEWEST_BEFORE = "SELECT id FROM runs WHERE organization=?1 AND created_at<?2 ORDER BY created_at DESC, id DESC LIMIT 1";
    GROUPS = "SELECT name, status, runs FROM groups WHERE organization=?1 AND name>?2 ORDER BY name, status LIMIT ?3";
    GROUP_LAST_CREATED = "SELECT created_at FROM runs WHERE organization=?1 AND grp=?2 ORDER BY id DESC LIMIT 1";
    COUNT_IN_GROUP = "INSERT INTO groups (organization, name, status, runs) VALUES (?1,?2,?3,?4)"
        "ON CONFLICT (organization, name, status) DO UPDATE SET runs=runs+excluded.runs";
    FORGET_EMPTY_GROUP = "DELETE FROM groups WHERE organization=?1 AND name=?2 AND runs=0";

    // --- dispatching
    ACTIVATE_LANE = "INSERT INTO lanes (pool, organization, vtime, active) SELECT ?1, ?2, now, 1 FROM"
        "(SELECT coalesce((SELECT min(vtime) FROM lanes WHERE pool=?1 AND active=1),"
        "(SELECT max(vtime) FROM lanes WHERE pool=?1), 0) AS now) WHERE true"
        "ON CONFLICT (pool, organization) DO UPDATE SET active=1, vtime=max(vtime, excluded.vtime) WHERE active=0";
    NEXT_LANE = "SELECT vtime, organization FROM lanes INDEXED BY lanes_active WHERE pool=?1 AND active=1 AND (vtime, organization) > (?2, ?3)"
        "ORDER BY vtime, organization LIMIT 1";
    MOVE_LANE = "UPDATE lanes SET vtime=?3, active=?4 WHERE pool=?1 AND organization=?2";
    LANE_HEAD = "SELECT id, organization, number, version, lease_expires_at, record, turn FROM runs"
        "WHERE waits=0 AND pool=?1 AND organization=?2 AND (turn, id) > (?3, ?4) ORDER BY turn, id LIMIT 1";
    TAKE_PLACE = "INSERT INTO limit_holders (key, run)"
        "SELECT ?1, ?2 WHERE (SELECT count(*) FROM limit_holders WHERE key=?1) < ?3"
        "ON CONFLICT DO NOTHING";
    HAS_PLACE = "SELECT 1 FROM limit_holders WHERE key=?1 AND run=?2";
    GIVE_PLACE_BACK = "DELETE FROM limit_holders WHERE key=?1 AND run=?2";
    GIVE_ALL_PLACES_BACK = "DELETE FROM limit_holders WHERE run=?1";
    HOLDERS = "SELECT key, run FROM limit_holders ORDER BY key, run";
    BLOCKED_ON = "SELECT id, organization, number, version, lease_expires_at, record FROM runs"
        "WHERE waits=2 AND limit_key=?1 ORDER BY turn, id LIMIT ?2";
    NEXT_BLOCKING_KEY = "SELECT limit_key FROM runs WHERE waits=2 AND limit_key>?1 ORDER BY limit_key LIMIT 1";
    // The sum counts the queued ones: their status is 1, that of pending ones 0.
    COUNT_WAITING = "SELECT pool, organization, count(*), sum(status) FROM runs INDEXED BY runs_waiting WHERE status<2"
        "GROUP BY pool, organization";
    COUNT_LEASED = "SELECT pool, organization, count(*) FROM runs WHERE lease_expires_at IS NOT NULL"
        "GROUP BY pool, organization";
    WORKER_POOLS = "SELECT DISTINCT pool FROM workers";

    // --- logs
    LOG_END = "SELECT stop FROM log_chunks WHERE organization=?1 AND run=?2 AND attempt=?3 ORDER BY start DESC LIMIT 1";
    INSERT_CHUNK = "INSERT INTO log_chunks (organization, run, attempt, start, stop, body) VALUES (?1,?2,?3,?4,?5,?6)";
    READ_CHUNKS = "SELECT start, body FROM log_chunks WHERE organization=?1 AND run=?2 AND attempt=?3 AND start>="
        "coalesce((SELECT max(start) FROM log_chunks WHERE organization=?1 AND run=?2 AND attempt=?3 AND start<=?4), 0)"
        "AND stop>?4 ORDER BY start";
    CLEAR_CHUNKS = "DELETE FROM log_chunks WHERE organization=?1 AND run=?2 AND attempt=?3";
    CLEAR_ALL_CHUNKS = "DELETE FROM log_chunks WHERE organization=?1 AND run=?2";

    // --- test results
    INSERT_BLOCK = "INSERT INTO test_blocks (organization, run, attempt, first, count, statuses, body)"
        "VALUES (?1,?2,?3,?4,?5,?6,?7)";
    READ_BLOCKS = "SELECT first, body FROM test_blocks WHERE organization=?1 AND run=?2 AND attempt=?3"
        "AND first+count>?4 AND (statuses & ?5) != 0 ORDER BY first";
    CLEAR_BLOCKS = "DELETE FROM test_blocks WHERE organization=?1 AND run=?2 AND attempt=?3";
    CLEAR_ALL_BLOCKS = "DELETE FROM test_blocks WHERE organization=?1 AND run=?2";

    // --- workers
    WORKER = "SELECT record FROM workers WHERE id=?1";
    PUT_WORKER = "INSERT OR REPLACE INTO workers (id, pool, draining, registered_at, last_seen_at, record)"
        "VALUES (?1,?2,?3,?4,?5,?6)";
    WORKERS = "SELECT record, id FROM workers ORDER BY registered_at DESC, id DESC";
    FORGET_WORKERS = "DELETE FROM workers WHERE id=?1 OR last_seen_at<?2";

    WORKER_STANDING = "SELECT draining, registered_at FROM workers WHERE id=?1";

    // --- set aside
    PUT_ASIDE = "INSERT INTO set_aside (kind, id, organization, why, at) VALUES (?1,?2,?3,?4,?5) ON CONFLICT DO NOTHING";
    LIST_ASIDE = "SELECT kind, id, organization, why, at FROM set_aside"
        "WHERE organization IS NULL OR organization=?1 ORDER BY at DESC LIMIT ?2";
    ALL_ASIDE = "SELECT kind, id FROM set_aside";
    STRIKE_ASIDE = "DELETE FROM set_aside WHERE kind=?1 AND id=?2";
    WAKE_LANE_OF = "UPDATE lanes SET active=1 WHERE (pool, organization) IN"
        "(SELECT pool, organization FROM runs WHERE id=?1 AND waits=0)";

    // --- settings and credentials
    SETTING = "SELECT value FROM settings WHERE name=?1";
    ADD_SETTING = "INSERT INTO settings (name, value) VALUES (?1,?2) ON CONFLICT DO NOTHING";
    PUT_SETTING = "INSERT OR REPLACE INTO settings (name, value) VALUES (?1,?2)";
    ANY_ORGANIZATION = "SELECT 1 FROM organizations LIMIT 1";
    FIRST_ORGANIZATION = "SELECT record, id FROM organizations ORDER BY id LIMIT 1";

    // --- identity: `?1` the id, `?2` the version, `?3` the document, then what stands beside it
    ADD_ORGANIZATION = "INSERT INTO organizations (id, version, record, name, created_at) VALUES (?1,?2,?3,?4,?5)";
    PUT_ORGANIZATION = "UPDATE organizations SET version=?2, record=?3, name=?4, created_at=?5 WHERE id=?1 AND version=?2-1";
    ORGANIZATION = "SELECT record, id FROM organizations WHERE id=?1";
    FORGET_MEMBERS = "DELETE FROM memberships WHERE organization=?1";
    ADD_MEMBER = "INSERT INTO memberships (organization, user, role) VALUES (?1,?2,?3)";
    ROLE = "SELECT role FROM memberships WHERE organization=?1 AND user=?2";
    ORGANIZATIONS_OF = "SELECT o.record, o.id FROM memberships m JOIN organizations o ON o.id=m.organization"
        "WHERE m.user=?1 ORDER BY m.organization";

    ADD_USER = "INSERT INTO users (id, version, record, email) VALUES (?1,?2,?3,?4)";
    PUT_USER = "UPDATE users SET version=?2, record=?3, email=?4 WHERE id=?1 AND version=?2-1";
    USER = "SELECT record, id FROM users WHERE id=?1";
    USER_BY_EMAIL = "SELECT record, id FROM users WHERE email=?1";

    ADD_KEY = "INSERT INTO api_keys (id, version, record, organization, owner, name, secret_hash, created_at, revoked_at)"
        "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)";
    PUT_KEY = "UPDATE api_keys SET version=?2, record=?3, organization=?4, owner=?5, name=?6, secret_hash=?7, created_at=?8,"
        "revoked_at=?9 WHERE id=?1 AND version=?2-1";
    KEY = "SELECT record, id, last_used_at FROM api_keys WHERE id=?1";
    KEY_OF = "SELECT record, id, last_used_at FROM api_keys WHERE id=?1 AND +organization=?2";
    KEY_BY_HASH = "SELECT record, id, last_used_at FROM api_keys WHERE secret_hash=?1";
    KEY_LOOK_UP = "SELECT k.record, k.id, k.last_used_at, u.record, m.role FROM api_keys k LEFT JOIN users u ON u.id=k.owner"
        "LEFT JOIN memberships m ON m.organization=k.organization AND m.user=k.owner WHERE k.secret_hash=?1";
    KEYS = "SELECT record, id, last_used_at FROM api_keys INDEXED BY api_keys_by_organization"
        "WHERE organization=?1 AND id<?2 ORDER BY id DESC LIMIT ?3";
    KEYS_OF_OWNER = "SELECT record, id, last_used_at FROM api_keys INDEXED BY api_keys_by_owner"
        "WHERE organization=?1 AND owner=?4 AND id<?2 ORDER BY id DESC LIMIT ?3";
    KEY_USED = "UPDATE api_keys SET last_used_at=?2 WHERE id=?1 AND (last_used_at IS NULL OR last_used_at<=?3)";

    ADD_SESSION = "INSERT INTO sessions (id, version, record, user, family_hash, expires_at, open) VALUES (?1,?2,?3,?4,?5,?6,?7)";
    PUT_SESSION = "UPDATE sessions SET version=?2, record=?3, user=?4, family_hash=?5, expires_at=?6, open=?7"
        "WHERE id=?1 AND version=?2-1";
    SESSION = "SELECT record, id FROM sessions WHERE id=?1";
    SESSION_OF = "SELECT record, id FROM sessions WHERE id=?1 AND +user=?2";
    SESSION_BY_FAMILY = "SELECT record, id FROM sessions WHERE family_hash=?1";
    SESSION_LOOK_UP = "SELECT s.record, s.id, u.record, m.role FROM sessions s LEFT JOIN users u ON u.id=s.user"
        "LEFT JOIN memberships m ON m.organization=?3 AND m.user=s.user WHERE s.id=?1 AND +s.user=?2";
    SESSIONS_OF = "SELECT record, id FROM sessions INDEXED BY sessions_by_user WHERE user=?1 AND open IS NOT NULL"
        "ORDER BY id DESC LIMIT ?2";
    FORGET_SESSIONS = "DELETE FROM sessions WHERE expires_at<?1";

    ADD_INVITATION = "INSERT INTO invitations (id, version, record, organization, email, token_hash, open)"
        "VALUES (?1,?2,?3,?4,?5,?6,?7)";
    PUT_INVITATION = "UPDATE invitations SET version=?2, record=?3, organization=?4, email=?5, token_hash=?6, open=?7"
        "WHERE id=?1 AND version=?2-1";
    INVITATION = "SELECT record, id FROM invitations WHERE id=?1";
    INVITATION_OF = "SELECT record, id FROM invitations WHERE id=?1 AND +organization=?2";
    INVITATION_BY_TOKEN = "SELECT record, id FROM invitations WHERE token_hash=?1";
    OPEN_INVITATION = "SELECT record, id FROM invitations WHERE organization=?1 AND email=?2 AND open IS NOT NULL";
    INVITATIONS = "SELECT record, id FROM invitations INDEXED BY invitations_by_organization"
        "WHERE organization=?1 AND id<?2 ORDER BY id DESC LIMIT ?3";

    ADD_PROJECT = "INSERT INTO projects (id, version, record, organization, name, sealed, retention)"
        "VALUES (?1,?2,?3,?4,?5,?6,?7)";
    PUT_PROJECT = "UPDATE projects SET version=?2, record=?3, organization=?4, name=?5, sealed=?6, retention=?7"
        "WHERE id=?1 AND version=?2-1";
    PROJECT = "SELECT record, id FROM projects WHERE id=?1";
    PROJECT_OF = "SELECT record, id FROM projects WHERE id=?1 AND +organization=?2";
    PROJECT_BY_NAME = "SELECT record, id FROM projects WHERE organization=?1 AND name=?2";
    PROJECTS = "SELECT record, id FROM projects INDEXED BY projects_by_organization"
        "WHERE organization=?1 AND id<?2 ORDER BY id DESC LIMIT ?3";
    PROJECTS_SEALED = "SELECT record, id FROM projects INDEXED BY projects_sealed"
        "WHERE sealed IS NOT NULL AND id<?1 ORDER BY id DESC LIMIT ?2";
    PROJECTS_WITH_RETENTION = "SELECT record, id FROM projects INDEXED BY projects_with_retention"
        "WHERE retention IS NOT NULL AND id<?1 ORDER BY id DESC LIMIT ?2";
    DELETE_PROJECT = "DELETE FROM projects WHERE id=?1 AND +organization=?2";

    ADD_RESET = "INSERT INTO password_resets (id, version, record, user, token_hash, expires_at) VALUES (?1,?2,?3,?4,?5,?6)";
    PUT_RESET = "UPDATE password_resets SET version=?2, record=?3, user=?4, token_hash=?5, expires_at=?6"
        "WHERE id=?1 AND version=?2-1";
    RESET = "SELECT record, id FROM password_resets WHERE id=?1";
    RESET_BY_TOKEN = "SELECT record, id FROM password_resets WHERE token_hash=?1";
    FORGET_RESETS = "DELETE FROM password_resets WHERE expires_at<?1";

    FAILURES = "SELECT count, last_at FROM sign_in_failures WHERE subject=?1";
    PUT_FAILURES = "INSERT OR REPLACE INTO sign_in_failures (subject, count, last_at) VALUES (?1,?2,?3)";
    FORGIVE = "DELETE FROM sign_in_failures WHERE subject=?1";
    FORGET_FAILURES = "DELETE FROM sign_in_failures WHERE last_at<?1";

    ADD_ENTRY = "INSERT INTO audit (id, organization, actor, action, record) VALUES (?1,?2,?3,?4,?5) ON CONFLICT DO NOTHING";
    AUDIT = "SELECT record, id FROM audit INDEXED BY audit_by_organization"
        "WHERE organization=?1 AND id>=?2 AND id<?3 ORDER BY id DESC LIMIT ?4";
    AUDIT_BY_ACTOR = "SELECT record, id FROM audit INDEXED BY audit_by_actor"
        "WHERE organization=?1 AND actor=?5 AND id>=?2 AND id<?3 ORDER BY id DESC LIMIT ?4";
    AUDIT_BY_ACTION = "SELECT record, id FROM audit INDEXED BY audit_by_action"
        "WHERE organization=?1 AND action=?5 AND id>=?2 AND id<?3 ORDER BY id DESC LIMIT ?4";
    AUDIT_BY_BOTH = "SELECT record, id FROM audit INDEXED BY audit_by_actor_and_action"
        "WHERE organization=?1 AND actor=?5 AND action=?6 AND id>=?2 AND id<?3 ORDER BY id DESC LIMIT ?4";
}

-- "GNTR": what `file` can tell this database by.
PRAGMA application_id = 0x474e5452;

-- Ids are 16 bytes, most significant first, so that they sort by age. Times are milliseconds since 1970.
-- Everything but the record, the version, the group and what a state brings with it is fixed when the run is accepted.
CREATE TABLE runs (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    organization BLOB NOT NULL,
    number INTEGER NOT NULL,
    version INTEGER NOT NULL,
    status INTEGER NOT NULL,            -- 0 pending, 1 queued, 2 running, 3 analyzing, above: over
    pool TEXT NOT NULL,
    turn INTEGER NOT NULL,              -- 0 for the highest priority
    project TEXT,
    environment TEXT,
    grp TEXT,
    created_at INTEGER NOT NULL,
    waits INTEGER,                      -- while pending: 0 for workers, 1 until due_at, 2 for limit_key, 3 paused
    due_at INTEGER,
    limit_key TEXT,
    queued_since INTEGER,               -- while queued
    worker BLOB,                        -- while leased, as the next three
    lease_token TEXT,
    lease_expires_at INTEGER,
    cancel INTEGER,                     -- somebody asked for the end
    log_due INTEGER,                    -- when a log has to be sealed or its chunks have to go
    idempotency_key TEXT,
    idempotency_hash BLOB,
    record BLOB NOT NULL
);

CREATE UNIQUE INDEX runs_by_id ON runs (id);
CREATE INDEX runs_by_organization ON runs (organization, id);
CREATE INDEX runs_by_created ON runs (organization, created_at, id);
CREATE INDEX runs_by_status ON runs (organization, status, id);
CREATE INDEX runs_by_project ON runs (organization, project, id) WHERE project IS NOT NULL;
CREATE INDEX runs_by_environment ON runs (organization, environment, id) WHERE environment IS NOT NULL;
CREATE INDEX runs_by_group ON runs (organization, grp, id) WHERE grp IS NOT NULL;
CREATE UNIQUE INDEX runs_by_idempotency ON runs (organization, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_idempotent ON runs (created_at) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_ready ON runs (pool, organization, turn, id) WHERE waits = 0;
CREATE INDEX runs_due ON runs (due_at) WHERE waits = 1;
CREATE INDEX runs_blocked ON runs (limit_key, turn, id) WHERE waits = 2;
CREATE INDEX runs_waiting ON runs (created_at, pool, organization, status) WHERE status < 2;
CREATE INDEX runs_queued ON runs (queued_since) WHERE queued_since IS NOT NULL;
CREATE INDEX runs_leased ON runs (lease_expires_at, worker, pool, organization) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX runs_log_due ON runs (log_due) WHERE log_due IS NOT NULL;

-- The last number given to a run of each organization; never given twice, even after deleting.
CREATE TABLE numbers (organization BLOB PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;

-- How many runs of a group stand where.
CREATE TABLE groups (
    organization BLOB NOT NULL,
    name TEXT NOT NULL,
    status INTEGER NOT NULL,
    runs INTEGER NOT NULL,
    PRIMARY KEY (organization, name, status)
) WITHOUT ROWID;

-- Whose turn it is: the active lane with the least virtual time.
CREATE TABLE lanes (
    pool TEXT NOT NULL,
    organization BLOB NOT NULL,
    vtime INTEGER NOT NULL,
    active INTEGER NOT NULL,
    PRIMARY KEY (pool, organization)
) WITHOUT ROWID;
CREATE INDEX lanes_active ON lanes (pool, vtime, organization) WHERE active = 1;
CREATE INDEX lanes_by_vtime ON lanes (pool, vtime);

CREATE TABLE limit_holders (key TEXT NOT NULL, run BLOB NOT NULL, PRIMARY KEY (key, run)) WITHOUT ROWID;
CREATE INDEX limit_holders_by_run ON limit_holders (run);

CREATE TABLE log_chunks (
    organization BLOB NOT NULL,
    run BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    start INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX log_chunks_in_order ON log_chunks (organization, run, attempt, start, stop);

CREATE TABLE test_blocks (
    organization BLOB NOT NULL,
    run BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    statuses INTEGER NOT NULL,          -- bits: 1 passed, 2 failed, 4 skipped, 8 flaky
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX test_blocks_in_order ON test_blocks (organization, run, attempt, first, count, statuses);

CREATE TABLE workers (
    id BLOB PRIMARY KEY,
    pool TEXT NOT NULL,
    draining INTEGER NOT NULL,
    registered_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE organizations (id BLOB PRIMARY KEY, name TEXT NOT NULL, created_at INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE users (
    id BLOB PRIMARY KEY,
    organization BLOB NOT NULL,
    email TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE api_keys (
    id BLOB PRIMARY KEY,
    organization BLOB NOT NULL,
    name TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) WITHOUT ROWID;
CREATE UNIQUE INDEX api_keys_by_hash ON api_keys (secret_hash);

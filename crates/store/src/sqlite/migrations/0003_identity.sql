-- People, organizations and credentials: versioned documents, and beside each what it is looked up by. What was there is
-- brought over by the program (schema/identity.rs), which alone can write the documents.
ALTER TABLE organizations RENAME TO old_organizations;
ALTER TABLE users RENAME TO old_users;
ALTER TABLE api_keys RENAME TO old_api_keys;
DROP INDEX api_keys_by_hash;

CREATE TABLE organizations (
    id BLOB NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    record BLOB NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
);

-- What the documents of organizations say of their members, to be found by member.
CREATE TABLE memberships (
    organization BLOB NOT NULL,
    user BLOB NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (organization, user)
) WITHOUT ROWID;
CREATE INDEX memberships_by_user ON memberships (user, organization);

CREATE TABLE users (
    id BLOB NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    record BLOB NOT NULL,
    email TEXT NOT NULL
);
CREATE UNIQUE INDEX users_by_email ON users (email);

CREATE TABLE api_keys (
    id BLOB NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    record BLOB NOT NULL,
    organization BLOB NOT NULL,
    owner BLOB NOT NULL,
    name TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER,
    last_used_at INTEGER                -- not in the document: uses conflict with nothing
);
CREATE UNIQUE INDEX api_keys_by_hash ON api_keys (secret_hash);
CREATE INDEX api_keys_by_organization ON api_keys (organization, id);
CREATE INDEX api_keys_by_owner ON api_keys (organization, owner, id);

CREATE TABLE sessions (
    id BLOB NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    record BLOB NOT NULL,
    user BLOB NOT NULL,
    family_hash BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    open INTEGER                        -- until somebody ends it
);
CREATE UNIQUE INDEX sessions_by_family ON sessions (family_hash);
CREATE INDEX sessions_by_user ON sessions (user, id) WHERE open IS NOT NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE invitations (
    id BLOB NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    record BLOB NOT NULL,
    organization BLOB NOT NULL,
    email TEXT NOT NULL,
    token_hash BLOB NOT NULL,
    open INTEGER                        -- until it is accepted or revoked
);
CREATE UNIQUE INDEX invitations_by_token ON invitations (token_hash);
CREATE UNIQUE INDEX invitations_open ON invitations (organization, email) WHERE open IS NOT NULL;
CREATE INDEX invitations_by_organization ON invitations (organization, id);

CREATE TABLE password_resets (
    id BLOB NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    record BLOB NOT NULL,
    user BLOB NOT NULL,
    token_hash BLOB NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX password_resets_by_token ON password_resets (token_hash);
CREATE INDEX password_resets_by_expiry ON password_resets (expires_at);

-- Sign-ins that failed since the last that succeeded, by `account:ADDRESS` or `address:IP`.
CREATE TABLE sign_in_failures (
    subject TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    last_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sign_in_failures_by_time ON sign_in_failures (last_at);

-- Rows are only added. Their ids sort by time. No organization and nobody known are empty.
CREATE TABLE audit (
    id BLOB NOT NULL PRIMARY KEY,
    organization BLOB NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    record BLOB NOT NULL
);
CREATE INDEX audit_by_organization ON audit (organization, id);
CREATE INDEX audit_by_actor ON audit (organization, actor, id);
CREATE INDEX audit_by_action ON audit (organization, action, id);
CREATE INDEX audit_by_actor_and_action ON audit (organization, actor, action, id);

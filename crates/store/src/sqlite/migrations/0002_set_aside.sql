-- Documents that could not be read, for people to look at; the documents stay where they are.
CREATE TABLE set_aside (
    kind TEXT NOT NULL,
    id BLOB NOT NULL,
    organization BLOB,
    why TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX set_aside_by_time ON set_aside (at);

-- Projects: versioned documents, and beside each what it is looked up by. Secrets are in the documents, sealed.
CREATE TABLE projects (
    id BLOB NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    record BLOB NOT NULL,
    organization BLOB NOT NULL,
    name TEXT NOT NULL,
    sealed INTEGER,                     -- while something in it is sealed
    retention INTEGER                   -- while its ended runs go one day
);
CREATE UNIQUE INDEX projects_by_name ON projects (organization, name);
CREATE INDEX projects_by_organization ON projects (organization, id);
CREATE INDEX projects_sealed ON projects (id) WHERE sealed IS NOT NULL;
CREATE INDEX projects_with_retention ON projects (id) WHERE retention IS NOT NULL;

-- The organization that operates the installation: so far the one it began with.
INSERT INTO settings (name, value) SELECT 'operators', id FROM organizations ORDER BY id LIMIT 1;

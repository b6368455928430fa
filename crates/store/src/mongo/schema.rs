//! The collections' indexes, and how a database gets from one version to the next.

mod identity;

use std::collections::BTreeSet;

use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::{Hint, IndexOptions};

use super::calls::Call;
use super::document::number;
use super::errors::Fault;
use super::{Core, names};
use crate::{Result, StoreError};

/// The version that this program makes and understands.
pub(super) const VERSION: u32 = 3;
const SCHEMA: &str = "schema";

/// A named index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index {
    collection: &'static str,
    name: &'static str,
    keys: &'static [(&'static str, i32)],
    unique: bool,
    /// Holds only documents that have this field.
    only_with: Option<&'static str>,
}

impl Index {
    const fn of(collection: &'static str, name: &'static str, keys: &'static [(&'static str, i32)]) -> Self {
        Self { collection, name, keys, unique: false, only_with: None }
    }

    const fn only_with(self, field: &'static str) -> Self {
        Self { only_with: Some(field), ..self }
    }

    const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    pub fn hint(&self) -> Hint {
        Hint::Name(self.name.to_owned())
    }

    fn model(&self) -> IndexModel {
        let keys: Document =
            self.keys.iter().map(|(field, way)| ((*field).to_owned(), (*way).into())).collect();
        let partial = self.only_with.map(|field| doc! { field: { "$exists": true } });
        let options = IndexOptions::builder()
            .name(self.name.to_owned())
            .unique(self.unique.then_some(true))
            .partial_filter_expression(partial)
            .build();
        IndexModel::builder().keys(keys).options(options).build()
    }
}

const RUNS: &str = names::RUNS;
pub(super) const BY_ORGANIZATION: Index =
    Index::of(RUNS, "runs_by_organization", &[("organization", 1), ("_id", 1)]);
pub(super) const BY_CREATED: Index =
    Index::of(RUNS, "runs_by_created", &[("organization", 1), ("created_at", 1), ("_id", 1)]);
pub(super) const BY_STATUS: Index =
    Index::of(RUNS, "runs_by_status", &[("organization", 1), ("status", 1), ("_id", 1)]);
pub(super) const BY_PROJECT: Index =
    Index::of(RUNS, "runs_by_project", &[("organization", 1), ("project", 1), ("_id", 1)])
        .only_with("project");
pub(super) const BY_ENVIRONMENT: Index =
    Index::of(RUNS, "runs_by_environment", &[("organization", 1), ("environment", 1), ("_id", 1)])
        .only_with("environment");
pub(super) const BY_GROUP: Index =
    Index::of(RUNS, "runs_by_group", &[("organization", 1), ("group", 1), ("_id", 1), ("status", 1)])
        .only_with("group");
pub(super) const BY_KEY: Index =
    Index::of(RUNS, "runs_by_key", &[("organization", 1), ("key", 1)]).only_with("key").unique();
pub(super) const KEY_SINCE: Index =
    Index::of(RUNS, "runs_key_since", &[("key_since", 1)]).only_with("key_since");
pub(super) const READY: Index =
    Index::of(RUNS, "runs_ready", &[("ready", 1), ("organization", 1), ("turn", 1), ("_id", 1)])
        .only_with("ready");
pub(super) const DUE: Index = Index::of(RUNS, "runs_due", &[("due_at", 1)]).only_with("due_at");
pub(super) const BLOCKED: Index =
    Index::of(RUNS, "runs_blocked", &[("limit", 1), ("turn", 1), ("_id", 1)]).only_with("limit");
pub(super) const LIVE: Index =
    Index::of(RUNS, "runs_live", &[("live", 1), ("created_at", 1), ("pool", 1)]).only_with("live");
pub(super) const QUEUED: Index =
    Index::of(RUNS, "runs_queued", &[("queued_since", 1)]).only_with("queued_since");
pub(super) const LEASED: Index =
    Index::of(RUNS, "runs_leased", &[("lease_expires_at", 1), ("worker", 1)]).only_with("lease_expires_at");
pub(super) const LOG_DUE: Index = Index::of(RUNS, "runs_log_due", &[("log_due", 1)]).only_with("log_due");

pub(super) const ASIDE_BY_TIME: Index = Index::of(names::SET_ASIDE, "set_aside_by_time", &[("at", 1)]);

pub(super) const BY_MEMBER: Index =
    Index::of(names::ORGANIZATIONS, "organizations_by_member", &[("members.user", 1)]);
pub(super) const KEYS_BY_ORGANIZATION: Index =
    Index::of(names::KEYS, "api_keys_by_organization", &[("organization", 1), ("_id", 1)]);
pub(super) const KEYS_BY_OWNER: Index =
    Index::of(names::KEYS, "api_keys_by_owner", &[("organization", 1), ("owner", 1), ("_id", 1)]);
pub(super) const SESSIONS_BY_USER: Index =
    Index::of(names::SESSIONS, "sessions_by_user", &[("user", 1), ("_id", 1)]).only_with("open");
pub(super) const INVITATIONS_BY_ORGANIZATION: Index =
    Index::of(names::INVITATIONS, "invitations_by_organization", &[("organization", 1), ("_id", 1)]);
pub(super) const PROJECTS_BY_ORGANIZATION: Index =
    Index::of(names::PROJECTS, "projects_by_organization", &[("organization", 1), ("_id", 1)]);
pub(super) const PROJECTS_SEALED: Index =
    Index::of(names::PROJECTS, "projects_sealed", &[("sealed", 1), ("_id", 1)]).only_with("sealed");
pub(super) const PROJECTS_WITH_RETENTION: Index =
    Index::of(names::PROJECTS, "projects_with_retention", &[("retention", 1), ("_id", 1)])
        .only_with("retention");
const AUDIT: &str = names::AUDIT;
pub(super) const AUDIT_BY_ORGANIZATION: Index =
    Index::of(AUDIT, "audit_by_organization", &[("organization", 1), ("_id", 1)]);
pub(super) const AUDIT_BY_ACTOR: Index =
    Index::of(AUDIT, "audit_by_actor", &[("organization", 1), ("actor", 1), ("_id", 1)]);
pub(super) const AUDIT_BY_ACTION: Index =
    Index::of(AUDIT, "audit_by_action", &[("organization", 1), ("action", 1), ("_id", 1)]);
pub(super) const AUDIT_BY_BOTH: Index = Index::of(
    AUDIT,
    "audit_by_actor_and_action",
    &[("organization", 1), ("actor", 1), ("action", 1), ("_id", 1)],
);

const INDEXES: &[Index] = &[
    ASIDE_BY_TIME,
    BY_ORGANIZATION,
    BY_CREATED,
    BY_STATUS,
    BY_PROJECT,
    BY_ENVIRONMENT,
    BY_GROUP,
    BY_KEY,
    KEY_SINCE,
    READY,
    DUE,
    BLOCKED,
    LIVE,
    QUEUED,
    LEASED,
    LOG_DUE,
    Index::of(
        names::LANES,
        "lanes_by_turn",
        &[("pool", 1), ("awake", 1), ("idle", 1), ("vtime", 1), ("organization", 1)],
    ),
    Index::of(names::LANES, "lanes_by_vtime", &[("pool", 1), ("vtime", 1)]),
    Index::of(names::LIMITS, "limits_by_holder", &[("holders", 1)]),
    Index::of(names::WORKERS, "workers_by_last_seen", &[("last_seen_at", 1)]),
    Index::of(names::KEYS, "api_keys_by_hash", &[("secret_hash", 1)]).unique(),
    KEYS_BY_ORGANIZATION,
    KEYS_BY_OWNER,
    BY_MEMBER,
    Index::of(names::USERS, "users_by_email", &[("email", 1)]).unique(),
    Index::of(names::SESSIONS, "sessions_by_family", &[("family_hash", 1)]).unique(),
    SESSIONS_BY_USER,
    Index::of(names::SESSIONS, "sessions_by_expiry", &[("expires_at", 1)]),
    Index::of(names::INVITATIONS, "invitations_by_token", &[("token_hash", 1)]).unique(),
    Index::of(names::INVITATIONS, "invitations_open", &[("organization", 1), ("email", 1)])
        .only_with("open")
        .unique(),
    INVITATIONS_BY_ORGANIZATION,
    Index::of(names::RESETS, "password_resets_by_token", &[("token_hash", 1)]).unique(),
    Index::of(names::RESETS, "password_resets_by_expiry", &[("expires_at", 1)]),
    Index::of(names::FAILURES, "sign_in_failures_by_time", &[("last_at", 1)]),
    Index::of(names::PROJECTS, "projects_by_name", &[("organization", 1), ("name", 1)]).unique(),
    PROJECTS_BY_ORGANIZATION,
    PROJECTS_SEALED,
    PROJECTS_WITH_RETENTION,
    AUDIT_BY_ORGANIZATION,
    AUDIT_BY_ACTOR,
    AUDIT_BY_ACTION,
    AUDIT_BY_BOTH,
];

/// Brings the database to the present version, and makes whatever index is missing. Safe to run by several processes.
pub(super) async fn migrate(core: &Core) -> Result<()> {
    let call = core.call();
    let version = match stored_version(core, &call).await? {
        Some(version) => version,
        None => begin(core, &call).await?,
    };
    if version > VERSION {
        return Err(StoreError::TooNew { found: version, known: VERSION });
    }
    if version == 1 {
        identity::bring_over(core, &call).await?;
    }
    // Making an index that is there already changes nothing; one may have been dropped by hand.
    let collections: BTreeSet<_> = INDEXES.iter().map(|index| index.collection).collect();
    for collection in collections {
        let models: Vec<_> =
            INDEXES.iter().filter(|index| index.collection == collection).map(Index::model).collect();
        let documents = core.documents(collection);
        // Building one takes its time on a big database: no deadline but the server's own.
        documents.create_indexes(models).await.map_err(|error| super::errors::fault(&error))?;
    }
    if version < VERSION {
        let settings = core.documents(names::SETTINGS);
        let filter = doc! { "_id": SCHEMA, "version": version };
        let update = doc! { "$set": { "version": VERSION } };
        call.run(|| async { settings.update_one(filter.clone(), update.clone()).await }).await?;
        tracing::info!(from = version, to = VERSION, "the store's schema was brought forward");
    }
    Ok(())
}

async fn stored_version(core: &Core, call: &Call) -> Result<Option<u32>> {
    let settings = core.raw(names::SETTINGS);
    let schema = call.run(|| async { settings.find_one(doc! { "_id": SCHEMA }).await }).await?;
    let version = schema.map(|schema| number(&schema, "version")).transpose()?;
    Ok(version.map(|version| u32::try_from(version).unwrap_or(u32::MAX)))
}

/// Takes an empty database. The version is written first: whoever finds collections without it may refuse them.
async fn begin(core: &Core, call: &Call) -> Result<u32> {
    let collections = call.run(|| async { core.database.list_collection_names().await }).await?;
    if collections.iter().any(|name| name == RUNS) {
        return match stored_version(core, call).await? {
            Some(version) => Ok(version),
            None => Err(StoreError::Corrupt(format!(
                "the database {:?} holds runs of another program: name another database in the address",
                core.database.name()
            ))),
        };
    }
    let settings = core.documents(names::SETTINGS);
    let first = doc! { "_id": SCHEMA, "version": 0 };
    match call.run(|| async { settings.insert_one(&first).await }).await {
        Ok(_) => Ok(0),
        Err(Fault::Duplicate) => Ok(stored_version(core, call).await?.unwrap_or(0)),
        Err(fault) => Err(fault.into()),
    }
}

//! No query may read its way through a collection: a million runs are stored there. Whatever the backend sends while the
//! workout uses every method is recorded, and each kind of query is explained by the server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gantry_domain::id::{OrganizationId, RunId, WorkerId};
use gantry_domain::run::{Hold, Run};
use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;

use super::MongoOptions;
use crate::contract::fixtures::{accept, accepted, at, finished, pool, queued, run_with, running, store};
use crate::{Idempotency, LeaseRef, Limit, ListFilter, LogKey, Stores};

mod identity;
#[path = "../../tests/mongo_server/mod.rs"]
mod mongo_server;
mod readers;

use readers::Access;

/// A query as it was sent: what it looks for, where, in which order, through which index.
#[derive(Debug, Clone)]
struct Query {
    collection: String,
    filter: Document,
    sort: Document,
    hint: Option<String>,
}

impl Query {
    /// The queries in a command.
    fn of(name: &str, command: &Document) -> Vec<Self> {
        let Ok(collection) = command.get_str(name) else { return Vec::new() };
        let query = |filter: Option<&Bson>, sort: Option<&Bson>, hint: Option<&Bson>| Self {
            collection: collection.to_owned(),
            filter: filter.and_then(Bson::as_document).cloned().unwrap_or_default(),
            sort: sort.and_then(Bson::as_document).cloned().unwrap_or_default(),
            hint: hint.and_then(Bson::as_str).map(str::to_owned),
        };
        let statements = |field: &str| {
            let statements = command.get_array(field).cloned().unwrap_or_default();
            statements
                .iter()
                .filter_map(Bson::as_document)
                .map(|s| query(s.get("q"), None, s.get("hint")))
                .collect()
        };
        match name {
            "find" => vec![query(command.get("filter"), command.get("sort"), command.get("hint"))],
            "findAndModify" => vec![query(command.get("query"), command.get("sort"), command.get("hint"))],
            "update" => statements("updates"),
            "delete" => statements("deletes"),
            "aggregate" => {
                let first =
                    command.get_array("pipeline").ok().and_then(|stages| stages.first()?.as_document());
                vec![query(first.and_then(|stage| stage.get("$match")), None, command.get("hint"))]
            }
            "insert" | "hello" | "ping" | "createIndexes" | "listCollections" | "getMore" | "killCursors"
            | "endSessions" => Vec::new(),
            other => panic!("a plan for {other} cannot be checked"),
        }
    }

    /// The same for queries that differ in values only.
    fn kind(&self) -> String {
        fn shape(value: &Bson) -> String {
            match value {
                Bson::Document(fields) => {
                    let fields = fields.iter().map(|(name, value)| format!("{name}:{}", shape(value)));
                    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
                }
                Bson::Array(_) => "[]".to_owned(),
                _ => "?".to_owned(),
            }
        }
        let sort: Vec<_> = self.sort.iter().map(|(field, way)| format!("{field}:{way}")).collect();
        format!(
            "{} {} by {} {:?}",
            self.collection,
            shape(&self.filter.clone().into()),
            sort.join(","),
            self.hint
        )
    }

    async fn explain(&self, database: &Database) -> Document {
        let mut find = doc! { "find": &self.collection, "filter": &self.filter };
        if !self.sort.is_empty() {
            find.insert("sort", &self.sort);
        }
        if let Some(hint) = &self.hint {
            find.insert("hint", hint);
        }
        let command = doc! { "explain": find, "verbosity": "queryPlanner" };
        database.run_command(command).await.unwrap()
    }
}

/// Everything that the traits can be asked.
async fn workout(stores: &Stores) {
    let organizations = [OrganizationId::new(), OrganizationId::new()];
    let (worker, mut models) = (WorkerId::new(), Vec::new());
    for organization in organizations {
        let new = run_with(organization, |run| {
            run.spec.project = Some("shop".into());
            run.spec.environment = Some("prod".into());
            run.spec.group = Some("nightly".into());
            run.idempotency = Some(Idempotency { key: "k".into(), body_hash: [1; 32] });
        });
        models.push(accept(stores, new.clone()).await);
        stores.runs.accept(new).await.unwrap();
    }
    for model in models.clone() {
        let over = finished(stores, &accepted(stores, model.organization).await, 0, at(3)).await;
        let copies = (0..400).map(|i: u64| {
            let like = if i.is_multiple_of(2) { &model } else { &over };
            Run { id: RunId::new(), number: 100 + i, ..like.clone() }
        });
        stores.runs.import(copies.collect()).await.unwrap();
        models.push(over);
    }
    let organization = organizations[0];
    let all = ListFilter::default;
    for filter in [
        all(),
        all().status(gantry_domain::run::RunStatus::Pending).status(gantry_domain::run::RunStatus::Failed),
        ListFilter { projects: vec!["shop".into()], ..all() },
        ListFilter { environments: vec!["prod".into()], ..all() },
        ListFilter { groups: vec!["nightly".into()], ..all() },
        ListFilter {
            created_from: Some(at(0)),
            created_before: Some(at(9)),
            text: Some("x".into()),
            ..all()
        },
    ] {
        stores.runs.list(organization, &filter, None, 5).await.unwrap();
        stores.runs.list(organization, &filter, Some(RunId::new()), 5).await.unwrap();
    }
    stores.runs.groups(organization, None, 5).await.unwrap();
    for hold in [Hold::Due { at: at(5) }, Hold::Limit { key: "a".into() }] {
        store(stores, accepted(stores, organization).await.hold(hold).unwrap()).await;
    }
    queued(stores, &accepted(stores, organization).await, at(1)).await;
    let held = running(stores, &accepted(stores, organization).await, worker, at(45)).await;
    let lease = LeaseRef { run: held.id, token: held.state.lease().unwrap().token.clone() };
    stores.runs.renew(worker, &[lease], at(60)).await.unwrap();
    // Somebody else was faster.
    stores.runs.transition(&Run { version: 9, ..held.clone() }, crate::Durability::Synced).await.unwrap();
    stores.runs.get(organization, held.id).await.unwrap();
    stores.runs.expired(at(99), 5).await.unwrap();
    stores.runs.leased(None, 5).await.unwrap();
    stores.runs.leased(Some(worker), 5).await.unwrap();
    stores.runs.due(at(9), 5).await.unwrap();
    stores.runs.unclaimed(at(9), 5).await.unwrap();
    stores.runs.waiting_since(at(9), 5).await.unwrap();
    stores.runs.logs_due(at(9), 5).await.unwrap();
    stores.runs.ahead_of(&models[0]).await.unwrap();
    stores.runs.forget_idempotency(at(9)).await.unwrap();

    let pool = pool("default");
    for count in [1, 7, 1000] {
        stores.dispatch.ready(&pool, count).await.unwrap();
    }
    let limits = [Limit { key: "a".into(), max: 1 }, Limit { key: "b".into(), max: 1 }];
    stores.dispatch.acquire(held.id, &limits).await.unwrap();
    stores.dispatch.acquire(models[0].id, &limits).await.unwrap();
    stores.dispatch.release(held.id, &["a".into()]).await.unwrap();
    stores.dispatch.holders().await.unwrap();
    stores.dispatch.blocked_on("a", 5).await.unwrap();
    stores.dispatch.blocking_keys().await.unwrap();
    stores.dispatch.depths().await.unwrap();
    stores.dispatch.organization_depths(organization).await.unwrap();

    let log = LogKey { organization, run: held.id, attempt: 1 };
    crate::contract::logs::chunks_are_read_back_as_appended(stores.clone()).await;
    stores.logs.clear(log).await.unwrap();
    crate::contract::results::results_are_replaced_as_a_whole(stores.clone()).await;
    crate::contract::fleet::draining_survives_what_a_worker_says(stores.clone()).await;
    stores.workers.list().await.unwrap();
    stores.workers.forget(Some(worker), at(0)).await.unwrap();
    crate::contract::credentials::an_installation_keeps_its_id(stores.clone()).await;
    crate::contract::credentials::only_the_first_bootstrap_counts(stores.clone()).await;
    identity::workout(stores).await;
    stores.runs.set_aside(organization, 5).await.unwrap();
    stores.auth.check().await.unwrap();
    stores.runs.delete(organization, models[2].id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_reads_through_a_collection() {
    let database = mongo_server::TestDatabase::new();
    let options = MongoOptions::new(mongo_server::address(&mongo_server::server(), &database.name));
    let sent: Arc<Mutex<BTreeMap<String, Query>>> = Arc::default();
    let (mut resolved, name) = options.resolve().await.unwrap();
    let recorder = Arc::clone(&sent);
    resolved.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(started) = event {
            for query in Query::of(&started.command_name, &started.command) {
                recorder.lock().unwrap().entry(query.kind()).or_insert(query);
            }
        }
    }));
    let mongo = super::connect::connect_with(&options, resolved, &name).await.expect(
        "this test needs a server that speaks MongoDB's protocol: `scripts/services start mongo` starts one",
    );
    workout(&mongo.stores()).await;
    mongo.close().await;

    let raw = database.raw().await;
    let queries = std::mem::take(&mut *sent.lock().unwrap());
    assert!(queries.len() > 40, "{} kinds of queries: are they still recorded?", queries.len());
    assert_eq!(
        scan(&raw).await,
        [Access::Scan],
        "a plan that must be a scan is not recognised as one: this server needs a reader"
    );
    for (kind, query) in queries {
        let plan = query.explain(&raw).await;
        for access in readers::read(&plan) {
            let Access::Index(index) = access else { panic!("{kind} reads everything: {plan}") };
            assert!(
                query.hint.as_ref().is_none_or(|hint| *hint == index),
                "{kind} goes through {index}: {plan}"
            );
        }
    }
}

/// A query that no index serves: what is not seen here would not be seen anywhere.
async fn scan(database: &Database) -> Vec<Access> {
    let filter = doc! { "no_such_field": 1 };
    let query = Query { collection: "runs".to_owned(), filter, sort: Document::new(), hint: None };
    readers::read(&query.explain(database).await)
}

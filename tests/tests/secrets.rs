//! Secrets planted wherever a run can carry them, and looked for wherever Gantry writes: they are nowhere but sealed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use futures::{StreamExt as _, TryStreamExt as _};
use gantry_api_types::project::{CreateProject, SetRegistry, SetSecret};
use gantry_api_types::request::{CreateRun, Retries};
use gantry_api_types::run::{ReasonCode, Run};
use gantry_client::{ApiClient, LogQuery};
use gantry_domain::id::RunId;
use gantry_producer::services::credentials::key::SealingKey;
use gantry_tests::cluster::{Addresses, Cluster, Plan};
use gantry_tests::collector::Collector;
use gantry_tests::{Installation, eventually};
use lapin::options::{BasicGetOptions, BasicNackOptions};
use lapin::{Connection, ConnectionProperties};
use mongodb::bson::Document;

const IMAGE: &str = "busybox:1.36";
const TOKEN: &str = "pl4nted/s3cret+with=all&sorts";
const PASSWORD: &str = "an0ther/pl4nted+password";

/// The secrets as they are, in URLs, and in base64.
fn forms() -> Vec<String> {
    [
        "pl4nted/s3cret+with=all&sorts",
        "pl4nted%2Fs3cret%2Bwith%3Dall%26sorts",
        "cGw0bnRlZC9zM2NyZXQrd2l0aD1hbGwmc29ydH",
    ]
    .into_iter()
    .chain(["an0ther/pl4nted+password", "an0ther%2Fpl4nted%2Bpassword", "YW4wdGhlci9wbDRudGVkK3Bhc3N3b3Jk"])
    .map(str::to_owned)
    .collect()
}

#[track_caller]
fn nowhere_in(what: &str, bytes: &[u8]) {
    for form in forms() {
        let found = bytes.windows(form.len()).position(|window| window == form.as_bytes());
        if let Some(at) = found {
            let around = &bytes[at.saturating_sub(100)..(at + 100).min(bytes.len())];
            panic!("{form} in {what}: {}", String::from_utf8_lossy(around));
        }
    }
}

/// Prints its secret in every form, names a file after it, and fails to execute it.
fn script() -> String {
    "echo \"it is $TOKEN\"; printf '%s' \"$TOKEN\" | base64; \
     half=pl4nted%2Fs3cret; echo \"https://x/?q=$half%2Bwith%3Dall%26sorts\" >&2; \
     test \"${#TOKEN}\" = 29 && echo complete; \
     mkdir -p out; echo x > \"out/$(printf '%s' \"$TOKEN\" | tr / _).txt\"; \
     printf '%s' \"$TOKEN\" | base64 > name; mkdir -p \"out/$TOKEN\"; echo y > \"out/$TOKEN/y.txt\"; \
     exec \"/no/$TOKEN\""
        .to_owned()
}

fn request(image: Option<&str>) -> CreateRun {
    CreateRun {
        project: Some("shop".into()),
        image: image.map(str::to_owned),
        command: Some(["sh", "-c", &script()].map(str::to_owned).to_vec()),
        secrets: vec!["TOKEN".into()],
        artifacts: Some(vec!["out".into()]),
        retries: Some(Retries { max_lost: Some(0), ..Retries::default() }),
        ..CreateRun::default()
    }
}

async fn plant(client: &ApiClient) {
    client.create_project(&CreateProject { name: "shop".into(), ..CreateProject::default() }).await.unwrap();
    client.set_secret("shop", "TOKEN", &SetSecret { value: TOKEN.into() }).await.unwrap();
    let login = SetRegistry { username: "ann".into(), password: PASSWORD.into() };
    client.set_registry("shop", "127.0.0.1:1", &login).await.unwrap();
}

async fn create(client: &ApiClient, request: &CreateRun) -> RunId {
    client.create_run(request, None).await.unwrap().id.parse().unwrap()
}

async fn ended(client: &ApiClient, id: RunId) -> Run {
    eventually("the run's end", || async {
        let run = client.get_run(id).await.unwrap();
        run.status.is_final().then_some(run)
    })
    .await
}

/// Everything that the API says of a run.
async fn told(client: &ApiClient, id: RunId) -> String {
    let run = client.get_run(id).await.unwrap();
    let attempts = client.attempts(id).await.unwrap();
    let artifacts: Vec<_> = client.all_artifacts(id).try_collect().await.unwrap();
    let query = LogQuery { system: true, ..LogQuery::default() };
    let log: Vec<_> = client.logs(id, query, None).await.unwrap().try_collect().await.unwrap();
    let followed: Vec<_> = client.follow(id, None).map(|item| format!("{item:?}")).collect().await;
    let log = String::from_utf8_lossy(&log.concat()).into_owned();
    format!("{run:?}\n{attempts:?}\n{artifacts:?}\n{log}\n{followed:?}")
}

async fn lists(client: &ApiClient) -> String {
    let projects = client.list_projects(None, None).await.unwrap();
    let (project, secrets) = (client.project("shop").await.unwrap(), client.secrets("shop").await.unwrap());
    let registries = client.registries("shop").await.unwrap();
    let runs = client.list_runs(&gantry_client::RunFilter::default()).await.unwrap();
    let workers = client.workers().await.unwrap();
    format!("{projects:?}\n{project:?}\n{secrets:?}\n{registries:?}\n{runs:?}\n{workers:?}")
}

/// What a run with secrets leaves for people to see: that it had them, and where they were.
fn shows_masks(told: &str) {
    for shown in ["it is ***", "complete", "https://x/?q=***", "out/***/y.txt", "/no/***"] {
        assert!(told.contains(shown), "{shown}: {told}");
    }
}

async fn metrics(address: &str) -> String {
    use http_body_util::{BodyExt as _, Empty};
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<Empty<hyper::body::Bytes>>();
    let answer = client.get(format!("{address}/metrics").parse().unwrap()).await.unwrap();
    String::from_utf8_lossy(&answer.into_body().collect().await.unwrap().to_bytes()).into_owned()
}

fn files_below(dir: &Path, each: &mut impl FnMut(&Path, Vec<u8>)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, each);
        } else if let Ok(bytes) = std::fs::read(&path) {
            each(&path, bytes);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_holds_no_secret_in_the_clear() {
    let collector = Collector::start().await.unwrap();
    let installation = Installation::new("process")
        .unwrap()
        .set("GANTRY_OTLP_ENDPOINT", collector.url())
        .set("GANTRY_LOG_FILTER", "debug,hyper=info,h2=info");
    let up = installation.up().unwrap();
    let client = up.client().unwrap();
    plant(&client).await;
    let id = create(&client, &request(None)).await;
    let run = ended(&client, id).await;
    assert_eq!(run.exit_code, Some(127), "{run:?}");
    let told = crate::told(&client, id).await;
    shows_masks(&told);
    nowhere_in("what the API tells of a run", told.as_bytes());
    nowhere_in("lists", lists(&client).await.as_bytes());
    nowhere_in("metrics", metrics(&up.url).await.as_bytes());
    let (log, key) = (up.log(), installation.data_dir().join("sealing-keys"));
    up.stop().unwrap();
    nowhere_in("the log", log.as_bytes());
    assert!(collector.heard_of("attempt"));
    for form in forms() {
        assert!(!collector.heard_of(&form), "{form} in spans");
    }
    let mut sealed = false;
    files_below(&installation.data_dir(), &mut |path, bytes| {
        nowhere_in(&path.display().to_string(), &bytes);
        sealed |= bytes.windows(9).any(|window| window == b"v1.first.");
    });
    assert!(sealed, "it is there, encrypted");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    // A new key in front, and the next start encrypts anew; then the old one can go.
    let old = std::fs::read_to_string(&key).unwrap();
    let new = SealingKey::random("second".parse().unwrap()).to_config();
    for keys in [format!("{}\n{old}", *new), new.to_string()] {
        std::fs::write(&key, keys).unwrap();
        let up = installation.up().unwrap();
        let client = up.client().unwrap();
        let again = create(&client, &request(None)).await;
        assert_eq!(ended(&client, again).await.exit_code, Some(127));
        shows_masks(&crate::told(&client, again).await);
        up.stop().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_store_nor_broker_nor_logs_nor_spans_hold_a_secret_and_keys_are_rotated_under_way() {
    let key = |name: &str| SealingKey::random(name.parse().unwrap()).to_config();
    let (old, new) = (key("old"), key("new"));
    let collector = Collector::start().await.unwrap();
    let addresses = Addresses::private();
    let plan = Plan::over(addresses.clone()).of(2, 0).patient().with_docker();
    let plan = plan
        .producers_with("GANTRY_OTLP_ENDPOINT", collector.url())
        .producers_with("GANTRY_LOG_FILTER", "debug,hyper=info,h2=info")
        .producers_with("GANTRY_SEALING_KEYS", &format!("{},{}", *old, *new))
        .workers_with("GANTRY_OTLP_ENDPOINT", collector.url())
        .workers_with("GANTRY_LOG_FILTER", "debug,hyper=info,h2=info");
    let mut cluster = Cluster::start(plan).await.unwrap();
    let client = cluster.client();
    plant(&client).await;

    let fails = CreateRun { image: Some("127.0.0.1:1/none:1".into()), ..request(None) };
    let (unpulled, first) = (create(&client, &fails).await, create(&client, &request(Some(IMAGE))).await);
    cluster.add_worker(&[]).unwrap();
    let unpulled = ended(&client, unpulled).await;
    assert_eq!(unpulled.reason.as_ref().unwrap().code, ReasonCode::RegistryUnreachable, "{unpulled:?}");
    let run = ended(&client, first).await;
    assert_eq!(run.exit_code, Some(127), "{run:?}");

    // Runs go on while everything is encrypted anew.
    let going = tokio::spawn({
        let client = cluster.client();
        async move {
            for _ in 0..6 {
                let id = create(&client, &request(Some(IMAGE))).await;
                assert_eq!(ended(&client, id).await.exit_code, Some(127));
            }
        }
    });
    let rotated = cluster.producer_says(&["rotate-secrets"], &format!("{},{}", *new, *old)).unwrap();
    assert!(rotated.contains("Encrypted anew: 2.") && rotated.contains("can be taken out"), "{rotated}");
    let again = cluster.producer_says(&["rotate-secrets"], &new).unwrap();
    assert!(again.contains("Encrypted anew: 0. Under the present key already: 2."), "{again}");
    going.await.unwrap();

    // What waits for a worker that is not known to be gone lies at the broker: looked at as it is there.
    for worker in &mut cluster.workers {
        worker.kill().unwrap();
    }
    let waiting = create(&client, &request(Some(IMAGE))).await;
    let mut told = crate::told(&client, first).await;
    shows_masks(&told);
    for id in [unpulled.id.parse().unwrap(), waiting] {
        told.push_str(&format!(
            "{:?} {:?}",
            client.get_run(id).await.unwrap(),
            client.attempts(id).await.unwrap()
        ));
    }
    nowhere_in("what the API tells of runs", told.as_bytes());
    nowhere_in("lists", lists(&client).await.as_bytes());
    for producer in 0..2 {
        let address = format!("http://{}", cluster.public_address(producer));
        nowhere_in("metrics", metrics(&address).await.as_bytes());
    }
    nowhere_in("messages", messages(&addresses.amqp, cluster.names.prefix()).await.as_bytes());
    for process in cluster.producers.iter().map(|producer| &producer.process).chain(&cluster.workers) {
        nowhere_in(process.name(), process.log().as_bytes());
    }
    assert!(collector.heard_of("attempt"));
    for form in forms() {
        assert!(!collector.heard_of(&form), "{form} in spans");
    }
    let dump = dump(&addresses.store(&cluster.names)).await;
    nowhere_in("the store", dump.as_bytes());
    assert!(dump.contains("v1.new.") && !dump.contains("v1.old."), "encrypted, under the new key");
}

/// Everything in the database, blobs included.
async fn dump(uri: &str) -> String {
    let client = mongodb::Client::with_uri_str(uri).await.unwrap();
    let database = client.default_database().unwrap();
    let mut dump = String::new();
    let names = database.list_collection_names().await.unwrap();
    assert!(
        names.iter().any(|name| name == "projects") && names.iter().any(|name| name == "runs"),
        "{names:?}"
    );
    for name in names {
        let documents: Vec<Document> =
            database.collection(&name).find(Document::new()).await.unwrap().try_collect().await.unwrap();
        for document in documents {
            let bytes = mongodb::bson::serialize_to_vec(&document).unwrap();
            dump.push_str(&name);
            dump.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    dump
}

/// What lies in the default pool's queue, headers included.
async fn messages(amqp: &str, prefix: &str) -> String {
    let connection = Connection::connect(amqp, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let queue = format!("{prefix}.runs.default");
    let message = eventually("a message that waits", || async {
        channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: false }).await.unwrap()
    })
    .await;
    let text =
        format!("{:?} {}", message.delivery.properties, String::from_utf8_lossy(&message.delivery.data));
    message
        .delivery
        .acker
        .nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() })
        .await
        .unwrap();
    text
}

//! Every route that the OpenAPI document describes, those of tomorrow included, against whatever comes from somebody who may
//! do everything: wrong values, wrong types, wrong names, wrong bytes, in path, query, headers and body. Nothing is our
//! fault, and every refusal is one of the documented ones. For `GANTRY_FUZZ_SECONDS` from `GANTRY_FUZZ_SEED`, which is
//! printed, so that a finding can be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Method, Request};
use gantry_producer::config::identity::MailConfig;
use gantry_service_kit::shutdown::TaskGroup;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::fuzz::{Dice, from_environment, mutate, spoil, weird, written};
use crate::installation::{Answer, Installation, WORKER_TOKEN, spec};
use crate::problem::problem;

const SECONDS: u64 = 20;
const MAX_DEPTH: usize = 6;

/// One operation of the document.
struct Operation {
    method: Method,
    path: String,
    /// Where it stands (path, query, header), its name, and what it should be.
    parameters: Vec<(String, String, Value)>,
    body: Option<Value>,
    answers: BTreeSet<String>,
}

struct Document {
    operations: Vec<Operation>,
    schemas: Map<String, Value>,
}

impl Document {
    fn read() -> Self {
        let document = serde_json::to_value(gantry_producer::openapi()).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap().clone();
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                operations.push(Operation {
                    method,
                    path: path.clone(),
                    parameters: parameters
                        .iter()
                        .map(|parameter| {
                            let text = |name: &str| parameter[name].as_str().unwrap().to_owned();
                            (text("in"), text("name"), parameter["schema"].clone())
                        })
                        .collect(),
                    body: operation["requestBody"]["content"]
                        .as_object()
                        .and_then(|content| content.get("application/json"))
                        .map(|content| content["schema"].clone()),
                    answers: operation["responses"].as_object().unwrap().keys().cloned().collect(),
                });
            }
        }
        Self { operations, schemas }
    }

    /// A value that the schema allows, more or less.
    fn sample(&self, schema: &Value, dice: &mut Dice, depth: usize) -> Value {
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
            return self.schemas.get(name).map_or(Value::Null, |schema| self.sample(schema, dice, depth));
        }
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        if let Some(values) = schema["enum"].as_array().filter(|values| !values.is_empty()) {
            return dice.pick(values).clone();
        }
        for name in ["oneOf", "anyOf"] {
            if let Some(kinds) = schema[name].as_array().filter(|kinds| !kinds.is_empty()) {
                return self.sample(&dice.pick(kinds).clone(), dice, depth);
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let mut all = Map::new();
            for part in parts {
                if let Value::Object(fields) = self.sample(part, dice, depth) {
                    all.extend(fields);
                }
            }
            return Value::Object(all);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) if !kinds.is_empty() => {
                dice.pick(kinds).as_str().unwrap_or("null").to_owned()
            }
            kind => kind.as_str().unwrap_or("object").to_owned(),
        };
        match kind.as_str() {
            "string" => text(schema["format"].as_str(), dice),
            "integer" => json!(*dice.pick(&[0, 1, 2, 7, 60, 100, 1_000])),
            "number" => json!(*dice.pick(&[0.0, 0.5, 1.0, 2.0])),
            "boolean" => json!(dice.below(2) == 0),
            "array" if depth < MAX_DEPTH => {
                (0..dice.below(4)).map(|_| self.sample(&schema["items"], dice, depth + 1)).collect()
            }
            "array" => json!([]),
            "object" => self.object(schema, dice, depth),
            _ => Value::Null,
        }
    }

    fn object(&self, schema: &Value, dice: &mut Dice, depth: usize) -> Value {
        let mut fields = Map::new();
        let required: Vec<_> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let wanted = required.contains(&name.as_str()) || (depth < MAX_DEPTH && dice.below(3) == 0);
            if wanted {
                fields.insert(name.clone(), self.sample(schema, dice, depth + 1));
            }
        }
        if schema["additionalProperties"].is_object() && depth < MAX_DEPTH {
            for _ in 0..dice.below(3) {
                let value = self.sample(&schema["additionalProperties"], dice, depth + 1);
                fields.insert(text(None, dice).as_str().unwrap_or("A").to_owned(), value);
            }
        }
        Value::Object(fields)
    }
}

fn text(format: Option<&str>, dice: &mut Dice) -> Value {
    let texts =
        ["default", "a", "web-shop", "busybox:1.36", "TOKEN", "nightly", "someone@example.com", "admin", "0"];
    json!(match format {
        Some("date-time") => "2026-01-01T00:00:00Z",
        Some("email") => "someone@example.com",
        Some("uri") => "https://shop.example",
        _ => dice.pick(&texts),
    })
}

/// Who asks, of what there is.
struct Fuzz {
    installation: Installation,
    dice: Dice,
    /// Ids that answers named: what paths and fields are best filled with.
    ids: Vec<String>,
    codes: BTreeMap<String, u64>,
    /// Looks after what goes on beside requests.
    tasks: TaskGroup,
    _mail: TempDir,
}

impl Fuzz {
    /// Everything that can be switched on is.
    async fn new(seed: u64) -> Self {
        let mail = tempfile::tempdir().unwrap();
        let installation = Installation::with_config(|config| {
            config.identity.open_sign_up = true;
            config.identity.public_url = "https://gantry.example".parse().ok();
            let from = "Gantry <gantry@gantry.example>".parse().unwrap();
            config.identity.mail = MailConfig::Directory(mail.path().to_owned(), from);
        })
        .await;
        let tasks = TaskGroup::new();
        installation.producer.spawn_reconcilers(&tasks);
        let app = installation.app();
        app.identity.spawn(&tasks, &app.shutdown);
        let ids = vec![installation.accept(spec()).await.to_string()];
        Self { installation, dice: Dice(seed), ids, codes: BTreeMap::new(), tasks, _mail: mail }
    }

    /// Goes on in an installation of its own.
    async fn anew(&mut self) {
        self.end().await;
        let codes = std::mem::take(&mut self.codes);
        *self = Self { codes, ..Self::new(self.dice.roll()).await };
    }

    async fn end(&self) {
        self.installation.app().shutdown.trigger();
        assert!(self.tasks.drain(Duration::from_secs(30)).await.unfinished.is_empty());
    }

    /// A value as text, seldom a good one.
    fn odd_text(&mut self, good: &Value) -> String {
        let value = match self.dice.below(4) {
            0 => json!(self.dice.pick(&self.ids).clone()),
            1 => weird(&mut self.dice),
            _ => good.clone(),
        };
        value.as_str().map_or_else(|| value.to_string(), str::to_owned).chars().take(4_000).collect()
    }

    fn uri(&mut self, document: &Document, operation: &Operation) -> String {
        let (mut path, mut query) = (operation.path.clone(), String::new());
        for (place, name, schema) in &operation.parameters {
            let good = document.sample(schema, &mut self.dice, 0);
            match place.as_str() {
                "path" => {
                    let value = match self.dice.below(3) {
                        0 => self.odd_text(&good),
                        _ => self.dice.pick(&self.ids).clone(),
                    };
                    path = path.replace(&format!("{{{name}}}"), &escaped(&value));
                }
                "query" if self.dice.below(3) == 0 => {
                    let value = self.odd_text(&good);
                    let _ = write!(query, "&{}={}", escaped(name), escaped(&value));
                }
                _ => {}
            }
        }
        if self.dice.below(20) == 0 {
            let odd = ["&", "&x", "&limit=1&limit=2", "&%", "&%ff=%00", "&cursor=%F0%28", "&=="];
            let odd = *self.dice.pick(&odd);
            query.push_str(odd);
        }
        format!("{path}?{}", query.trim_start_matches('&'))
    }

    fn body(&mut self, document: &Document, operation: &Operation) -> Vec<u8> {
        let Some(schema) = &operation.body else {
            return if self.dice.below(4) == 0 {
                weird(&mut self.dice).to_string().into_bytes()
            } else {
                Vec::new()
            };
        };
        let mut value = document.sample(schema, &mut self.dice, 0);
        self.fill_in(&mut value);
        for _ in 0..self.dice.below(4) {
            mutate(&mut value, &mut self.dice);
        }
        let mut bytes = written(&value).into_bytes();
        spoil(&mut bytes, &mut self.dice);
        bytes
    }

    /// Fields that want ids get some.
    fn fill_in(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => fields.values_mut().for_each(|field| self.fill_in(field)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill_in(item)),
            Value::String(text) if self.dice.below(4) == 0 => text.clone_from(self.dice.pick(&self.ids)),
            _ => {}
        }
    }

    fn request(&mut self, document: &Document, operation: &Operation) -> (Request<Body>, String) {
        let uri = self.uri(document, operation);
        let body = self.body(document, operation);
        let method = match self.dice.below(40) {
            0 => Method::from_bytes(
                self.dice.pick(&["HEAD", "PUT", "PATCH", "DELETE", "POST", "BREW"]).as_bytes(),
            )
            .unwrap(),
            _ => operation.method.clone(),
        };
        let shown = format!("{method} {uri} {}", String::from_utf8_lossy(&body));
        let mut request =
            Request::builder().method(method).uri(&uri).body(Body::from(body)).unwrap_or_else(|error| {
                panic!("{error}: {shown}");
            });
        let headers = request.headers_mut();
        headers.insert("authorization", format!("Bearer {}", self.installation.key).parse().unwrap());
        if self.dice.below(15) > 0 {
            headers.insert("content-type", HeaderValue::from_static("application/json"));
        }
        let names = [
            "idempotency-key",
            "last-event-id",
            "range",
            "if-range",
            "x-request-id",
            "traceparent",
            "accept",
            "origin",
            "content-type",
            "x-forwarded-for",
        ];
        for _ in 0..self.dice.below(3) {
            let name = *self.dice.pick(&names);
            let good =
                json!(*self.dice.pick(&["1:0", "bytes=0-1", "bytes=5-", "abc", "application/json", "0"]));
            let value = self.odd_text(&good);
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(name, value);
            }
        }
        (request, shown)
    }

    /// One request and everything that must hold of its answer.
    async fn step(&mut self, document: &Document, operation: &Operation, seed: u64) {
        let (request, shown) = self.request(document, operation);
        let head = request.method() == Method::HEAD;
        let what = || format!("seed {seed}: {}", shown.chars().take(4_000).collect::<String>());
        let response = self.installation.public.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let status = parts.status;
        if status.is_server_error() {
            let text = to_bytes(body, 64 << 20).await.unwrap();
            let text = String::from_utf8_lossy(&text);
            // Letters come faster than any server of mail takes them: what is full says so.
            let full = text.contains("The mail server");
            let on_purpose = status == 503 && (full || operation.answers.contains("503"));
            assert!(on_purpose, "{status} {text} to {}", what());
            return;
        }
        *self.codes.entry(status.as_str().to_owned()).or_default() += 1;
        let kind = parts.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
        if kind.starts_with("text/event-stream") {
            return;
        }
        let bytes = tokio::time::timeout(Duration::from_secs(30), to_bytes(body, 64 << 20)).await;
        let bytes = bytes.unwrap_or_else(|_| panic!("no end of {}", what())).unwrap().to_vec();
        let answer = Answer { status, headers: parts.headers, bytes };
        if status.is_client_error() && !head {
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| problem(&answer)));
            assert!(checked.is_ok(), "{status} {} to {}", answer.text(), what());
        }
        if status.is_success() && kind.starts_with("application/json") {
            self.remember(&serde_json::from_slice(&answer.bytes).unwrap_or_default());
        }
        if status == 401 {
            // Somebody who may do everything may also end his own access.
            self.anew().await;
        }
    }

    fn remember(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => fields.values().for_each(|field| self.remember(field)),
            Value::Array(items) => items.iter().for_each(|item| self.remember(item)),
            Value::String(text) if looks_like_id(text) && !self.ids.contains(text) => {
                if self.ids.len() >= 64 {
                    let at = self.dice.below(self.ids.len());
                    self.ids.swap_remove(at);
                }
                self.ids.push(text.clone());
            }
            _ => {}
        }
    }
}

fn looks_like_id(text: &str) -> bool {
    text.len() < 64 && text.split_once('_').is_some_and(|(kind, rest)| kind.len() == 3 && rest.len() > 20)
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    from_environment("GANTRY_FUZZ_SEED", now)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_to_any_route_is_our_fault() {
    let (seed, seconds) = (seed(), from_environment("GANTRY_FUZZ_SECONDS", SECONDS));
    eprintln!("GANTRY_FUZZ_SEED={seed}");
    let document = Document::read();
    assert!(document.operations.len() >= 20, "the document is not read");
    let mut fuzz = Fuzz::new(seed).await;
    let begun = Instant::now();
    let mut rounds = 0;
    // Whole rounds: every route is met as often as every other.
    while begun.elapsed() < Duration::from_secs(seconds) || rounds == 0 {
        for operation in &document.operations {
            fuzz.step(&document, operation, seed).await;
        }
        rounds += 1;
        // What there is stays little enough to be listed quickly.
        if rounds % 500 == 0 {
            fuzz.anew().await;
        }
    }
    fuzz.end().await;
    eprintln!("{rounds} rounds of {} routes: {:?}", document.operations.len(), fuzz.codes);
    for wanted in ["200", "202", "400", "404", "422"] {
        assert!(
            fuzz.codes.contains_key(wanted) || rounds < 20,
            "the fuzz has lost its variety: {:?}",
            fuzz.codes
        );
    }
}

/// The worker protocol is described by its types alone, so these are its bodies.
#[tokio::test]
async fn no_body_of_a_worker_is_our_fault() {
    let seed = seed();
    let installation = Installation::new().await;
    let mut dice = Dice(seed);
    let worker = gantry_domain::id::WorkerId::new();
    let run = installation.accept(spec()).await;
    let finish = json!({
        "observed": {"kind": "exited", "code": 0, "oom_killed": false}, "log_end": 0, "log_truncated": false,
        "prepare_ms": 1, "execute_ms": 2, "collect_ms": 3, "warnings": [],
    });
    let bodies = [
        (
            "register".to_owned(),
            json!({"worker": worker, "name": "w", "version": "0", "pool": "default", "executor": "fake", "slots": 2}),
        ),
        (
            "heartbeat".to_owned(),
            json!({"worker": worker, "busy": 0, "disk_free_bytes": null, "disk_total_bytes": null, "paused": null, "leases": []}),
        ),
        ("leave".to_owned(), json!({"worker": worker})),
        ("attempts/over".to_owned(), json!({"attempts": [{"run": run, "attempt": 1}]})),
        (
            format!("runs/{run}/claim"),
            json!({"worker": worker, "dispatch": gantry_domain::id::DispatchId::new(), "claim": gantry_domain::id::ClaimId::new()}),
        ),
        (format!("runs/{run}/state"), json!({"state": "starting"})),
        (format!("runs/{run}/finish"), finish),
    ];
    for case in 0..400 {
        for (path, good) in &bodies {
            let mut value = good.clone();
            for _ in 0..dice.below(4) {
                mutate(&mut value, &mut dice);
            }
            let mut bytes = written(&value).into_bytes();
            spoil(&mut bytes, &mut dice);
            let shown = String::from_utf8_lossy(&bytes).chars().take(2_000).collect::<String>();
            let request = Request::post(format!("/worker/v1/{path}"))
                .header("authorization", format!("Bearer {WORKER_TOKEN}"))
                .header("gantry-lease", "a lease that nobody has")
                .header("content-type", "application/json")
                .body(Body::from(bytes))
                .unwrap();
            let answer = crate::installation::answer(&installation.worker_api, request).await;
            assert!(
                !answer.status.is_server_error(),
                "case {case} of seed {seed}: {} to {path} {shown}",
                answer.text()
            );
            if answer.status.is_client_error() {
                problem(&answer);
            }
        }
    }
}

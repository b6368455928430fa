//! `POST /api/v1/runs` against whatever comes: never our fault, always a field named, and whatever is accepted is a run
//! like any other. Seeded, so that a finding can be repeated: `GANTRY_FUZZ_SEED`, `GANTRY_FUZZ_CASES`.

use std::collections::BTreeSet;

use gantry_api_types::problem::ProblemCode;
use gantry_domain::id::RunId;
use gantry_domain::spec::Pool;
use gantry_producer::background::dispatcher::Dispatcher;
use gantry_queue::Queue as _;
use serde_json::{Value, json};

use crate::installation::Installation;
use crate::problem::problem;
use crate::worker::{FakeWorker, exited};

const CASES: u64 = 3000;

/// SplitMix64: small, and the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A request that uses every field and is accepted as it is.
fn everything() -> Value {
    json!({
        "project": "web-shop", "image": "registry.example/shop:1", "command": ["npx", "playwright", "test"],
        "folder": "tests/e2e", "environment": "staging", "base_url": "https://staging.example",
        "variables": {"BROWSER": "chromium", "EMPTY": ""}, "secrets": [], "group": "nightly",
        "labels": {"team": "checkout"}, "pool": "default", "priority": "normal", "timeout_seconds": 1800,
        "retries": {"max": 2, "on": ["failed", "timed_out"], "backoff_seconds": 10, "max_lost": 2},
        "at_most_once": false, "resources": {"cpus": 2, "memory_mb": 2048, "pids": 512},
        "artifacts": ["playwright-report", "test-results/**/*.xml"], "shards": 1,
    })
}

/// Numbers that a JSON value cannot hold are written in the place of these words.
const RAW: [&str; 8] =
    ["1e308", "1e999", "-1e999", "-0", "-0.0", "340282366920938463463374607431768211456", "1e-400", "0.1e1"];

pub fn weird(dice: &mut Dice) -> Value {
    let texts = [
        "",
        " ",
        "\0",
        "a\0b",
        "\r\nX: y",
        "\u{202e}\u{200b}",
        "🦀",
        "é",
        "\u{7f}",
        "\u{1b}[31m",
        "NaN",
        "null",
        "true",
        "../../etc/passwd",
        "/",
        "~",
        "a/b~c",
        "--pid=host",
        "http://",
        "ftp://x",
        "javascript:alert(1)",
        "'; DROP TABLE runs;--",
        "${jndi:ldap://x}",
        "<img onerror=alert(1)>",
        "default",
        "failed",
        "high",
        "GANTRY_RUN_ID",
        "A=B",
        "*",
        "**/*",
        "\u{feff}x",
        "\u{ffff}",
    ];
    match dice.below(16) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(*dice.pick(&[0_i64, -1, 1, 86_400, 86_401, i64::MIN, i64::MAX, 4_294_967_296, 65_535])),
        3 => json!(u64::MAX),
        4 => json!(*dice.pick(&[0.5, -0.0, 1e308, -1e308, f64::MIN_POSITIVE, 4_294_967_295.5, 0.009_999])),
        5 => json!(format!("raw:{}", dice.pick(&RAW))),
        6..=8 => json!(*dice.pick(&texts)),
        9 => json!("x".repeat(*dice.pick(&[63, 64, 100, 101, 256, 1024, 4097, 70_000, 140_000]))),
        10 => json!([]),
        11 => json!({}),
        12 => json!([*dice.pick(&texts), dice.below(100), null]),
        13 => json!(vec![*dice.pick(&texts); *dice.pick(&[1, 64, 101, 1001])]),
        14 => {
            let name = dice.pick(&texts).to_string();
            json!({name: *dice.pick(&texts)})
        }
        _ => (0..*dice.pick(&[2, 50, 126, 127, 128, 200])).fold(json!("deep"), |inner, _| json!([inner])),
    }
}

/// Everything inside `value` that can be replaced.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let at = format!("{at}/{}", escape(key));
                found.push(at.clone());
                places(inner, &at, found);
            }
        }
        Value::Array(items) => {
            for (i, inner) in items.iter().enumerate().take(4) {
                let at = format!("{at}/{i}");
                found.push(at.clone());
                places(inner, &at, found);
            }
        }
        _ => {}
    }
}

pub fn mutate(value: &mut Value, dice: &mut Dice) {
    let mut found = vec![String::new()];
    places(value, "", &mut found);
    let at = dice.pick(&found).clone();
    let Some(place) = value.pointer_mut(&at) else { return };
    match (dice.below(6), place) {
        (0, Value::Object(fields)) => {
            let keys: Vec<_> = fields.keys().cloned().collect();
            if !keys.is_empty() {
                fields.remove(dice.pick(&keys));
            }
        }
        (1, Value::Object(fields)) => {
            let names =
                ["privileged", "x", "", "Image", "image ", "a/b~c", "\u{0}", "source", "needs", "workdir"];
            fields.insert(dice.pick(&names).to_string(), weird(dice));
        }
        (2, Value::Array(items)) => items.push(weird(dice)),
        (_, place) => *place = weird(dice),
    }
}

/// A body made from a good one: wrong fields, and now and then wrong bytes.
fn body(dice: &mut Dice) -> Vec<u8> {
    let mut value = everything();
    for _ in 0..dice.below(4) {
        mutate(&mut value, dice);
    }
    let mut text = written(&value);
    if dice.below(10) == 0 && text.starts_with('{') {
        let twice = ["\"image\":\"twice\",", "\"labels\":{\"a\":\"1\",\"a\":\"2\"},", "\"x\":1,\"x\":2,"];
        text.insert_str(1, twice[dice.below(twice.len())]);
    }
    let mut bytes = text.into_bytes();
    spoil(&mut bytes, dice);
    bytes
}

/// As JSON, with the numbers that no value can hold.
pub fn written(value: &Value) -> String {
    RAW.iter().fold(value.to_string(), |text, raw| text.replace(&format!("\"raw:{raw}\""), raw))
}

/// Now and then wrong bytes.
pub fn spoil(bytes: &mut Vec<u8>, dice: &mut Dice) {
    if bytes.is_empty() {
        return;
    }
    match dice.below(12) {
        0 => bytes.truncate(dice.below(bytes.len() + 1)),
        1 => {
            for _ in 0..=dice.below(4) {
                let at = dice.below(bytes.len());
                bytes[at] = dice.roll() as u8;
            }
        }
        2 => {
            let at = dice.below(bytes.len());
            bytes.insert(at, *dice.pick(b"\0\xff\"{}[],:\\\n"));
        }
        3 if dice.below(4) == 0 => *bytes = (0..dice.below(300)).map(|_| dice.roll() as u8).collect(),
        _ => {}
    }
}

pub fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_is_our_fault_and_every_accepted_one_is_a_run() {
    let (seed, cases) =
        (from_environment("GANTRY_FUZZ_SEED", 1), from_environment("GANTRY_FUZZ_CASES", CASES));
    let installation = Installation::new().await;
    let (mut accepted, mut codes, mut pools) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for case in 0..cases {
        let body = body(&mut Dice(seed.wrapping_mul(1 << 32).wrapping_add(case)));
        let answer = installation.post_runs(body.clone(), &[]).await;
        let what = || format!("case {case} of seed {seed}: {}", String::from_utf8_lossy(&body));
        if answer.status == 202 {
            let run = answer.run();
            pools.insert(run.pool.parse::<Pool>().unwrap());
            assert!(accepted.insert(run.id.parse::<RunId>().unwrap()), "{}", what());
            continue;
        }
        assert!(answer.status.is_client_error(), "{} for {}", answer.text(), what());
        let problem = problem(&answer);
        let known = matches!(
            problem.code,
            ProblemCode::MalformedBody | ProblemCode::ValidationFailed | ProblemCode::NotSupported
        );
        assert!(known, "{:?} for {}", problem.code, what());
        codes.insert(problem.code.as_str());
    }
    assert_eq!(codes.len(), 3, "{codes:?}: the fuzz has lost its variety");
    assert!(accepted.len() as u64 > cases / 10, "only {} of {cases} accepted", accepted.len());

    // Listed, page by page, and shown.
    let (mut listed, mut query) = (BTreeSet::new(), "limit=100".to_owned());
    loop {
        let page = installation.get(&format!("/api/v1/runs?{query}")).await.expect(200).json();
        for run in page["items"].as_array().unwrap() {
            listed.insert(run["id"].as_str().unwrap().parse::<RunId>().unwrap());
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("limit=100&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(listed, accepted);
    for id in &accepted {
        installation.show(*id).await;
    }

    // Dispatched, claimed and finished.
    let mut done = BTreeSet::new();
    for pool in &pools {
        let worker = FakeWorker::register_in(&installation, pool, 100).await;
        let mut consumer = installation.queue.consume(pool).await.unwrap();
        loop {
            worker.heartbeat(0, &[]).await;
            installation.pass(&Dispatcher(installation.app().clone())).await;
            if installation.queue.depth(pool).await.unwrap() == 0 {
                break;
            }
            let delivery = consumer.next().await.unwrap();
            let held = worker.claim(delivery.message.clone()).await;
            delivery.ack().await.unwrap();
            worker.finish(&held, exited(0)).await.expect(200);
            assert!(done.insert(held.run));
        }
    }
    assert_eq!(done, accepted);
}

#[tokio::test]
async fn other_routes_that_take_json_are_as_careful() {
    let installation = Installation::new().await;
    let mut dice = Dice(from_environment("GANTRY_FUZZ_SEED", 1));
    for case in 0..from_environment("GANTRY_FUZZ_CASES", CASES) / 10 {
        let mut value = json!({"action": "cancel", "ids": [RunId::new()], "group": "g"});
        for _ in 0..=dice.below(2) {
            mutate(&mut value, &mut dice);
        }
        let answer = installation.post("/api/v1/runs/bulk", value.clone()).await;
        if answer.status != 200 {
            assert!(answer.status.is_client_error(), "case {case}: {value}");
            problem(&answer);
        }
    }
}

#[tokio::test]
async fn wrong_fields_are_named_where_they_are() {
    let installation = Installation::new().await;
    for (body, pointer) in [
        (r#"{"image": 7}"#, "/image"),
        (r#"{"image": "a", "timeout_seconds": 1e308}"#, "/timeout_seconds"),
        (r#"{"image": "a", "timeout_seconds": 1e999}"#, "/timeout_seconds"),
        (r#"{"image": "a", "timeout_seconds": 18446744073709551615}"#, "/timeout_seconds"),
        (r#"{"image": "a", "timeout_seconds": 340282366920938463463374607431768211456}"#, "/timeout_seconds"),
        (r#"{"image": "a", "timeout_seconds": "NaN"}"#, "/timeout_seconds"),
        (r#"{"image": "a", "timeout_seconds": 1.5}"#, "/timeout_seconds"),
        (r#"{"image": "a", "timeout_seconds": -0}"#, "/timeout_seconds"),
        (r#"{"image": "a", "resources": {"cpus": 1e308}}"#, "/resources/cpus"),
        (r#"{"image": "a", "resources": {"cpus": -1}}"#, "/resources/cpus"),
        (r#"{"image": "a", "resources": {"cpus": 1e999}}"#, "/resources/cpus"),
        (r#"{"image": "a", "resources": [2, 2048, 512]}"#, "/resources"),
        (r#"{"image": "a", "retries": {"on": ["always"]}}"#, "/retries/on/0"),
        (r#"{"image": "a", "retries": {"on": "failed"}}"#, "/retries/on"),
        (r#"{"image": "a", "variables": {"A": null}}"#, "/variables/A"),
        (r#"{"image": "a", "variables": {"": "x"}}"#, "/variables/"),
        (r#"{"image": "a", "labels": {"a/b~c": 1}}"#, "/labels/a~1b~0c"),
        (r#"{"image": "a", "pool": "../x"}"#, "/pool"),
        (r#"{"image": "a\u0000"}"#, "/image"),
        (r#"{"image": "a", "command": []}"#, "/command"),
        (r#"{"image": "a", "command": ["x", "\u0000"]}"#, "/command/1"),
        (r#"{"image": "a", "privileged": true}"#, "/privileged"),
        (r#"{"image": "a", "image": "b"}"#, "/image"),
        (r#"[null, "busybox"]"#, ""),
        ("7", ""),
        ("{}", "/image"),
    ] {
        let answer = installation.post_runs(body, &[]).await;
        let problem = problem(&answer);
        assert_eq!(problem.code, ProblemCode::ValidationFailed, "{body}: {}", problem.detail);
        assert_eq!(problem.errors[0].pointer, pointer, "{body}: {}", problem.detail);
    }
}

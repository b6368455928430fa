//! The page about metrics tells the truth: what it promises is there after one run, and nothing is there that it omits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use gantry_tests::{Installation, eventually};
use http_body_util::{BodyExt as _, Empty};
use hyper::Uri;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// Their sections need servers that `gantry up` does without.
const OF_SERVERS: [&str; 3] = ["MongoDB", "RabbitMQ", "Redis"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Name → (section, type), as the page has it.
fn documented() -> BTreeMap<String, (String, String)> {
    let page = std::fs::read_to_string(root().join("docs-site/docs/metrics.md")).unwrap();
    let mut section = String::new();
    let mut found = BTreeMap::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            section = name.to_owned();
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let Some(name) = cells.get(1).and_then(|cell| cell.strip_prefix("`gantry_")) {
            assert_eq!(cells.len(), 7, "a row has five cells: {line}");
            let name = format!("gantry_{}", name.trim_end_matches('`'));
            let before = found.insert(name, (section.clone(), cells[2].to_owned()));
            assert!(before.is_none(), "twice: {line}");
        }
    }
    found
}

/// Name → type, as scraped; only what has a HELP text.
fn scraped(text: &str) -> BTreeMap<String, String> {
    let described: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: BTreeMap<_, _> = types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
    for name in types.keys() {
        assert!(described.contains(name.as_str()), "{name} has no HELP text");
    }
    types
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_metric_is_there_after_one_run() {
    let installation = Installation::new("process").unwrap();
    let up = installation.up().unwrap();
    let script = "echo hello; echo content > file.txt";
    let ran = installation.run(&["run", "--artifact", "file.txt", "--", "sh", "-c", script]).unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));

    let url: Uri = format!("{}/metrics", up.url).parse().unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let scrape = async || {
        let answer = client.get(url.clone()).await.unwrap();
        assert_eq!(answer.status(), 200);
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    let documented = documented();
    let missing = |there: &BTreeMap<String, String>| -> Vec<String> {
        let expected = documented.iter().filter(|(_, (section, _))| !OF_SERVERS.contains(&section.as_str()));
        expected.map(|(name, _)| name.clone()).filter(|name| !there.contains_key(name)).collect()
    };
    // Gauges of pools and slots come with the next pass and the next heartbeat.
    let text = eventually("all metrics", || async {
        let text = scrape().await;
        let missing = missing(&scraped(&text));
        if !missing.is_empty() {
            println!("not yet: {missing:?}");
        }
        missing.is_empty().then_some(text)
    })
    .await;
    for (name, kind) in scraped(&text).into_iter().filter(|(name, _)| name.starts_with("gantry_")) {
        let (_, promised) = documented.get(&name).unwrap_or_else(|| panic!("{name} is not in metrics.md"));
        assert_eq!(*promised, kind, "{name}");
    }
    for id in ["run_", "org_", "wrk_", "key_"] {
        let labelled = format!("=\"{id}");
        assert!(!text.contains(&labelled), "an id as a label: cardinality without bound");
    }
    up.stop().unwrap();
}

/// Also of servers that no run of this test meets.
#[test]
fn every_metric_in_the_code_is_documented() {
    let output = Command::new("grep")
        .args(["-rhoE", r#""gantry_[a-z_]+_(total|seconds|bytes|commands)""#, "--include=*.rs"])
        .args(["crates", "producer/src", "worker/src", "cli/src"])
        .current_dir(root())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let in_code: BTreeSet<_> = text.lines().map(|name| name.trim_matches('"')).collect();
    assert!(in_code.len() > 20, "{in_code:?}");
    let documented = documented();
    for name in in_code.into_iter().filter(|name| !name.starts_with("gantry_test_")) {
        assert!(documented.contains_key(name), "{name} is not in metrics.md");
    }
}

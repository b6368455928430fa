//! Test reports among the artifacts: read, merged, preferred, or explained.

use std::fmt::Write as _;

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::setup::{Held, Setup};
use crate::tar_files::{PIECE, large, tar};

const PLAYWRIGHT_JSON: &[u8] = include_bytes!("../../../crates/reports/tests/fixtures/playwright.json");
const PLAYWRIGHT_JUNIT: &[u8] = include_bytes!("../../../crates/reports/tests/fixtures/playwright-junit.xml");
const ONE_FAILED: &[u8] = br#"<testsuite><testcase name="a"><failure message="no"/></testcase></testsuite>"#;
const TWO_PASSED: &[u8] = br#"<testsuite><testcase name="b"/><testcase name="c"/></testsuite>"#;

async fn uploaded(setup: &Setup, body: impl Into<Body>) -> (Held, Value) {
    let held = setup.running().await;
    let answer = setup.upload(&held, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    (held, answer.json())
}

async fn names(setup: &Setup, held: &Held) -> Vec<String> {
    let tests = setup.json(held, "/tests?limit=100").await;
    tests["items"].as_array().unwrap().iter().map(|test| test["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn junit_files_are_merged_in_the_order_of_their_paths() {
    let setup = Setup::new().await;
    let archive = tar(&[("z/1.xml", ONE_FAILED), ("a/2.xml", TWO_PASSED), ("a/other.xml", b"<project/>")]);
    let (held, answer) = uploaded(&setup, archive).await;
    assert_eq!((&answer["count"], &answer["tests"], &answer["problems"]), (&json!(3), &json!(3), &json!([])));
    assert_eq!(names(&setup, &held).await, ["b", "c", "a"]);
}

#[tokio::test]
async fn playwrights_own_format_wins_over_its_junit() {
    let setup = Setup::new().await;
    let archive = tar(&[("a/junit.xml", PLAYWRIGHT_JUNIT), ("b/report.json", PLAYWRIGHT_JSON)]);
    let (both, answer) = uploaded(&setup, archive).await;
    assert_eq!(answer["problems"], json!([]));
    let (alone, expected) = uploaded(&setup, tar(&[("report.json", PLAYWRIGHT_JSON)])).await;
    assert!(expected["tests"].as_u64().unwrap() > 0);
    assert_eq!(answer["tests"], expected["tests"]);
    assert_eq!(names(&setup, &both).await, names(&setup, &alone).await);

    // One that can't be read is no reason to know nothing.
    let broken = &PLAYWRIGHT_JSON[..PLAYWRIGHT_JSON.len() / 2];
    let (held, answer) = uploaded(&setup, tar(&[("junit.xml", TWO_PASSED), ("report.json", broken)])).await;
    assert_eq!(answer["tests"], 2);
    assert_eq!(names(&setup, &held).await, ["b", "c"]);
    assert!(answer["problems"][0].as_str().unwrap().contains("report.json"), "{answer}");
}

#[tokio::test]
async fn a_report_that_cannot_be_read_is_explained_and_kept() {
    let setup = Setup::new().await;
    let entities = br#"<?xml version="1.0"?><!DOCTYPE t [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>
        <testsuite name="&b;"><testcase name="&b;"/></testsuite>"#;
    let external = br#"<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite><testcase name="&x;"/></testsuite>"#;
    for (content, because) in [
        (&b"<testsuite><testcase name=\"a\"></testsuite>"[..], "not well-formed"),
        (b"<testsuite><testcase name=\"a\"/>", "before its last element is closed"),
        (entities, "document type"),
        (external, "document type"),
        (b"<testsuite><testcase name=\"\xff\"/></testsuite>", "UTF-8"),
    ] {
        let (held, answer) =
            uploaded(&setup, tar(&[("out/junit.xml", content), ("ok.xml", TWO_PASSED)])).await;
        assert_eq!((&answer["count"], &answer["tests"]), (&json!(2), &json!(2)), "{answer}");
        let problem = answer["problems"][0].as_str().unwrap();
        assert!(problem.starts_with("out/junit.xml: ") && problem.contains(because), "{because}: {problem}");
        assert_eq!(setup.get(&held, "/artifacts/out/junit.xml").await.bytes, content);
        assert_eq!(setup.finish(&held, 0).await, "passed");
        let warnings = setup.json(&held, "").await["warnings"].clone();
        assert_eq!(warnings, json!([{"code": "report_unreadable", "message": problem}]));
    }
}

#[tokio::test]
async fn a_huge_report_is_kept_as_a_file_and_not_read() {
    let setup = Setup::new().await;
    let output = format!("<system-out>{}</system-out>", "x".repeat(PIECE - 25));
    let body =
        large("junit.xml", b"<testsuite><testcase name=\"a\"/>", output.as_bytes(), (96 << 20) / PIECE);
    let (held, answer) = uploaded(&setup, body).await;
    assert_eq!(
        (&answer["count"], &answer["bytes"], &answer["tests"]),
        (&json!(1), &json!(96 << 20), &json!(0))
    );
    let problem = answer["problems"][0].as_str().unwrap();
    assert!(problem.contains("junit.xml") && problem.contains("larger than 64 MiB"), "{problem}");
    assert_eq!(setup.finish(&held, 0).await, "passed");
}

#[tokio::test]
async fn of_many_results_the_first_are_kept_and_all_are_counted() {
    let setup = Setup::new().await;
    let report = |prefix: &str, status: &str| {
        let mut report = String::from("<testsuite>");
        for n in 0..30_000 {
            write!(report, "<testcase name=\"{prefix}{n}\">{status}</testcase>").unwrap();
        }
        report + "</testsuite>"
    };
    let (passed, failed) = (report("p", ""), report("f", "<failure/>"));
    let archive = tar(&[("1.xml", passed.as_bytes()), ("2.xml", failed.as_bytes())]);
    let (held, answer) = uploaded(&setup, archive).await;
    assert_eq!(answer["tests"], 60_000);
    let problem = answer["problems"][0].as_str().unwrap();
    assert!(problem.contains("60000") && problem.contains("50000"), "{problem}");
    assert_eq!(setup.finish(&held, 0).await, "unstable");
    let run = setup.json(&held, "").await;
    assert_eq!(
        run["tests"],
        json!({"total": 60_000, "passed": 30_000, "failed": 30_000, "skipped": 0, "flaky": 0})
    );
    assert_eq!(run["warnings"][0]["code"], "results_cut");
    let last = setup.json(&held, "/tests?cursor=49999&limit=100").await;
    assert_eq!(last["items"].as_array().unwrap().len(), 1);
    assert_eq!((&last["items"][0]["name"], &last["next_cursor"]), (&json!("f19999"), &Value::Null));
}

#[tokio::test]
async fn many_broken_reports_give_few_warnings() {
    let setup = Setup::new().await;
    let paths: Vec<_> = (0..100).map(|n| format!("{n:03}.xml")).collect();
    let files: Vec<_> = paths.iter().map(|path| (path.as_str(), &b"<testsuite>"[..])).collect();
    let (_, answer) = uploaded(&setup, tar(&files)).await;
    let problems = answer["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 21);
    assert!(problems[20].as_str().unwrap().starts_with("80 more"), "{}", problems[20]);
}

#[tokio::test]
async fn results_are_filtered_and_listed_page_by_page() {
    let setup = Setup::new().await;
    let mut report = String::from("<testsuite>");
    for n in 0..90 {
        let status = if n % 3 == 0 { "<failure message=\"no\"/>" } else { "" };
        write!(report, "<testcase name=\"t{n}\">{status}</testcase>").unwrap();
    }
    let report = report + "<testcase name=\"s\"><skipped/></testcase></testsuite>";
    let (held, _) = uploaded(&setup, tar(&[("junit.xml", report.as_bytes())])).await;
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let page = setup.json(&held, &format!("/tests?status=failed,skipped&limit=10{cursor}")).await;
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        assert_eq!(items.len(), 10);
    }
    let expected = (0..90).step_by(3).map(|n| format!("t{n}")).chain(["s".to_owned()]);
    assert_eq!(seen, expected.collect::<Vec<_>>());
    for (query, parameter) in [
        ("status=broken", "status"),
        ("cursor=x", "cursor"),
        ("limit=0", "limit"),
        ("page=2", "page"),
        ("attempt=a", "attempt"),
    ] {
        let refused = setup.get(&held, &format!("/tests?{query}")).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_parameter"),
            "{query}"
        );
        assert!(
            refused.json()["detail"].as_str().unwrap().contains(parameter),
            "{query}: {}",
            refused.text()
        );
    }
}

//! Playwright's JSON report: a real-looking one, unusual ones, and hostile ones.

use std::io::{self, Read};

use gantry_domain::results::{TestResult, TestStatus};
use gantry_reports::{ReportError, ReportLimits, playwright};
use proptest::prelude::*;

const FIXTURE: &str = include_str!("fixtures/playwright.json");

fn parse(json: &str) -> Result<Vec<TestResult>, ReportError> {
    playwright::parse(json.as_bytes(), &ReportLimits::default())
}

fn refusal(json: &str) -> ReportError {
    let Err(error) = parse(json) else { panic!("was not refused") };
    assert!(!error.to_string().chars().any(char::is_control), "{error}");
    error
}

fn lines(results: &[TestResult]) -> Vec<String> {
    results
        .iter()
        .map(|r| {
            format!("{} | {} | {} | {} | {}", r.suite, r.name, r.status.as_str(), r.duration_ms, r.retries)
        })
        .collect()
}

const FIXTURE_LINES: [&str; 5] = [
    "[chromium] | opens the help | skipped | 0 | 0",
    "[chromium] › Login | accepts a known user | passed | 1204 | 0",
    "[firefox] › Login | accepts a known user | flaky | 987 | 1",
    "[chromium] › Login › with SSO | redirects | failed | 5034 | 1",
    " | (outside of any test) | failed | 0 | 0",
];

#[test]
fn a_report_becomes_results() {
    let results = parse(FIXTURE).unwrap();
    assert_eq!(lines(&results), FIXTURE_LINES);
    assert!(results[..4].iter().all(|result| result.file.as_deref() == Some("login.spec.ts")));
    let messages: Vec<_> = results.iter().map(|result| result.message.as_deref()).collect();
    assert_eq!(
        messages,
        [
            Some("help is being rewritten"),
            None,
            Some("Test timeout of 30000ms exceeded."),
            Some("Error: expect(locator).toBeVisible()"),
            Some("Error: Cannot find module './pages/cart'"),
        ]
    );
}

#[test]
fn the_order_of_keys_does_not_matter() {
    // Reading it into a value sorts the keys: titles come last.
    let value: serde_json::Value = serde_json::from_str(FIXTURE).unwrap();
    let sorted = serde_json::to_string(&value).unwrap();
    assert!(sorted.find("\"specs\"") < sorted.find("\"title\""));
    let mut found = lines(&parse(&sorted).unwrap());
    let mut expected = FIXTURE_LINES.map(str::to_owned).to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn what_older_versions_leave_out_is_derived() {
    let with = |tests: &str| {
        let json = format!(
            "{{\"suites\": [{{\"title\": \"a.ts\", \"file\": \"a.ts\", \"specs\": [{{\"title\": \"t\", \"tests\": [{tests}]}}]}}]}}"
        );
        parse(&json).unwrap().remove(0)
    };
    let result =
        with(r#"{"results": [{"status": "failed", "error": {"value": "'thrown'"}}, {"status": "passed"}]}"#);
    assert_eq!((result.status, result.retries), (TestStatus::Flaky, 1));
    assert_eq!((result.suite.as_str(), result.file.as_deref()), ("", Some("a.ts")));
    assert_eq!(result.message.as_deref(), Some("'thrown'"));
    assert_eq!(with(r#"{"results": [{"status": "passed", "duration": -5}]}"#).status, TestStatus::Passed);
    assert_eq!(with(r#"{"results": [{"status": "passed", "duration": -5}]}"#).duration_ms, 0);
    assert_eq!(with(r#"{"results": [{"status": "passed", "duration": 1e200}]}"#).duration_ms, 2_592_000_000);
    let interrupted = with(r#"{"results": [{"status": "interrupted", "error": null}]}"#);
    assert_eq!(interrupted.status, TestStatus::Failed);
    assert_eq!(interrupted.message.as_deref(), Some("the test ended as interrupted"));
    assert_eq!(with("{}").status, TestStatus::Skipped);
    assert_eq!(with(r#"{"status": "new in 2030", "results": []}"#).status, TestStatus::Skipped);
}

#[test]
fn broken_and_foreign_json_is_refused_with_its_position() {
    match refusal(&FIXTURE[..FIXTURE.len() - 200]) {
        ReportError::Json { line, reason, .. } => {
            assert!(line > 100, "{line}");
            assert!(reason.starts_with("EOF while parsing"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    for json in [
        "",
        "[]",
        "1",
        "{\"suites\": 3}",
        "{\"suites\": [3]}",
        "{\"suites\": []} {}",
        "{\"suites\": [{\"title\": 1}]}",
    ] {
        assert!(matches!(refusal(json), ReportError::Json { .. }), "{json}");
    }
    assert!(matches!(refusal("{\"stats\": {}}"), ReportError::NotAReport { .. }));
    assert_eq!(parse("{\"suites\": []}").unwrap(), []);
    let error = playwright::parse(&b"{\"suites\": [{\"title\": \"\xff\"}]}"[..], &ReportLimits::default())
        .unwrap_err();
    assert!(matches!(error, ReportError::Json { .. }), "{error:?}");
    // A value of the report in an error message can't write into a log.
    let error = refusal("{\"suites\": [{\"specs\": \"x\\r\\nfake\\u001b[2J\"}]}");
    assert!(error.to_string().contains("fake"), "{error}");
}

/// `before`, then `piece` for ever, made while it is read; counts what was taken.
struct Endless<'a> {
    before: &'a [u8],
    piece: &'a [u8],
    at: usize,
    read: u64,
}

impl<'a> Endless<'a> {
    fn new(before: &'a str, piece: &'a str) -> Self {
        Self { before: before.as_bytes(), piece: piece.as_bytes(), at: 0, read: 0 }
    }
}

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for slot in buffer.iter_mut() {
            *slot = match self.at.checked_sub(self.before.len()) {
                None => self.before[self.at],
                Some(after) => self.piece[after % self.piece.len()],
            };
            self.at += 1;
        }
        self.read += buffer.len() as u64;
        Ok(buffer.len())
    }
}

#[test]
fn an_endless_report_is_refused_at_the_first_limit_it_meets() {
    let limits =
        ReportLimits { bytes: 8 << 20, item_bytes: 1 << 20, results: 1000, ..ReportLimits::default() };
    let tests = "{\"suites\": [{\"title\": \"a\", \"specs\": [{\"title\": \"t\", \"tests\": [{}";
    type Expected = fn(&ReportError) -> bool;
    let cases: [(&str, &str, Expected); 8] = [
        (tests, ",{}", |e| matches!(e, ReportError::TooManyResults { limit: 1000 })),
        ("{\"suites\": [{\"specs\": [{\"tests\": [{}]}", ",{\"tests\": [{}]}", |e| {
            matches!(e, ReportError::TooManyResults { .. })
        }),
        ("{\"suites\": [], \"errors\": [{}", ",{}", |e| matches!(e, ReportError::TooManyResults { .. })),
        ("{\"suites\": [{\"specs\": [{\"tests\": [{\"results\": [{}", ",{}", |e| {
            matches!(e, ReportError::TooLarge { .. })
        }),
        ("{\"config\": {\"a\": \"", "a", |e| matches!(e, ReportError::ItemTooLarge { .. })),
        ("{\"suites\": [{\"title\": \"", "\\\"", |e| matches!(e, ReportError::ItemTooLarge { .. })),
        ("{\"config\": [1", ", 1", |e| matches!(e, ReportError::TooLarge { .. })),
        ("{\"suites\": [{", "\"suites\": [{", |e| matches!(e, ReportError::TooDeep { .. })),
    ];
    for (before, piece, expected) in cases {
        let mut endless = Endless::new(before, piece);
        let error = playwright::parse(&mut endless, &limits).unwrap_err();
        assert!(expected(&error), "{before}: {error:?}");
        assert!(endless.read <= 9 << 20, "{before}: {}", endless.read);
    }
}

#[test]
fn nesting_is_limited() {
    let limits = ReportLimits { depth: 5, ..ReportLimits::default() };
    let deep = |levels: usize| {
        format!("{{\"suites\": [{}{}]}}", "{\"suites\": [".repeat(levels), "]}".repeat(levels))
    };
    assert!(playwright::parse(deep(5).as_bytes(), &limits).is_ok());
    assert!(matches!(playwright::parse(deep(6).as_bytes(), &limits), Err(ReportError::TooDeep { limit: 5 })));
    assert!(matches!(refusal(&deep(100_000)), ReportError::TooDeep { .. }));
    let ignored = format!("{{\"suites\": [], \"x\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let _ = parse(&ignored);
}

fn any_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just(",".to_owned()),
        Just("\"suites\":[{".to_owned()),
        Just("\"specs\":[{\"title\":\"t\",\"tests\":[{".to_owned()),
        Just("\"results\":[{\"status\":\"failed\"}]".to_owned()),
        Just("\"title\":\"a\\u0000\"".to_owned()),
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = playwright::parse(&bytes[..], &ReportLimits::default());
        let _ = playwright::begins(&bytes);
    }

    #[test]
    fn anything_like_json_is_answered_cleanly(json in any_json()) {
        if let Err(error) = parse(&json) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
    }

    #[test]
    fn a_damaged_report_never_panics(at in 0..FIXTURE.len(), byte in any::<u8>()) {
        let mut bytes = FIXTURE.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = playwright::parse(&bytes[..], &ReportLimits::default());
    }
}

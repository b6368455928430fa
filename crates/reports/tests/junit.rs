//! JUnit XML: the shapes real tools write, and the ones that only an attacker does.

use std::fmt::Write;
use std::io::{self, Cursor, Read};

use gantry_domain::results::{TestResult, TestStatus, TestSummary};
use gantry_reports::{ReportError, ReportLimits, junit};
use proptest::prelude::*;

fn parse(xml: &str) -> Result<Vec<TestResult>, ReportError> {
    junit::parse(xml.as_bytes(), &ReportLimits::default())
}

/// Suite, name, status, duration, retries: what a list of tests shows.
fn lines(results: &[TestResult]) -> Vec<String> {
    results
        .iter()
        .map(|r| {
            format!("{} | {} | {} | {} | {}", r.suite, r.name, r.status.as_str(), r.duration_ms, r.retries)
        })
        .collect()
}

fn summary(passed: u32, failed: u32, skipped: u32, flaky: u32) -> TestSummary {
    TestSummary { total: passed + failed + skipped + flaky, passed, failed, skipped, flaky }
}

fn refusal(xml: &str) -> ReportError {
    let Err(error) = parse(xml) else { panic!("was not refused") };
    assert!(!error.to_string().chars().any(char::is_control), "{error}");
    error
}

#[test]
fn pytest() {
    let results = parse(include_str!("fixtures/pytest.xml")).unwrap();
    assert_eq!(
        lines(&results),
        [
            "tests.test_login.TestLogin | test_accepts_known_user | passed | 104 | 0",
            "tests.test_login.TestLogin | test_rejects_wrong_password | failed | 31 | 0",
            "tests.test_login | test_umlauts[Grüße & Küsse] | passed | 2 | 0",
            "tests.test_mail | test_sends_mail | skipped | 0 | 0",
            "pytest | tests.test_broken | failed | 0 | 0",
        ]
    );
    let message = results[1].message.as_deref().unwrap();
    assert!(
        message.starts_with("AssertionError: assert 200 == 401\n +  where 200 = <Response [200]>"),
        "{message}"
    );
    assert!(message.ends_with("tests/test_login.py:23: AssertionError"), "{message}");
    assert_eq!(results[3].message.as_deref(), Some("/work/tests/test_mail.py:9: no mail server"));
    assert_eq!(TestSummary::of(&results), summary(2, 2, 1, 0));
}

#[test]
fn jest() {
    let results = parse(include_str!("fixtures/jest-junit.xml")).unwrap();
    assert_eq!(
        lines(&results),
        [
            "Cart | Cart adds an item | passed | 4 | 0",
            "Cart | Cart computes the total | failed | 12 | 0",
            "Cart | Cart applies a voucher | skipped | 0 | 0",
        ]
    );
    assert!(results[1].message.as_deref().unwrap().contains("Received: 29.999999999999996"));
    assert_eq!(results[2].message, None);
}

#[test]
fn surefire_with_reruns() {
    let results = parse(include_str!("fixtures/surefire-reruns.xml")).unwrap();
    assert_eq!(
        lines(&results),
        [
            "com.acme.shop.CheckoutTest | paysByCard | passed | 1201337 | 0",
            "com.acme.shop.CheckoutTest | paysByInvoice | flaky | 214 | 1",
            "com.acme.shop.CheckoutTest | refunds | failed | 50 | 2",
            "com.acme.shop.CheckoutTest | paysByCheque | skipped | 0 | 0",
        ]
    );
    let flaky = results[1].message.as_deref().unwrap();
    assert!(flaky.contains("expected: <PAID> but was: <OPEN>\n\tat com.acme"), "{flaky}");
    assert!(!flaky.contains("ledger"), "output is not part of a message: {flaky}");
    assert_eq!(results[3].message.as_deref(), Some("nobody pays by cheque"));
}

#[test]
fn mocha() {
    let results = parse(include_str!("fixtures/mocha.xml")).unwrap();
    assert_eq!(
        lines(&results),
        ["Search | Search finds a word | passed | 11 | 0", "Search | Search ranks by age | failed | 20 | 0"]
    );
    assert_eq!(results[0].file.as_deref(), Some("/app/test/search.spec.js"));
}

#[test]
fn go_junit_report() {
    let results = parse(include_str!("fixtures/go-junit-report.xml")).unwrap();
    assert_eq!(
        lines(&results),
        [
            "github.com/acme/ledger | TestAppend | passed | 60 | 0",
            "github.com/acme/ledger | TestBalance/negative | failed | 100 | 0",
            "github.com/acme/ledger | TestSlow | skipped | 0 | 0",
        ]
    );
    assert_eq!(results[1].message.as_deref(), Some("Failed\n\nledger_test.go:33: balance = -1, want 0"));
}

#[test]
fn playwright() {
    let results = parse(include_str!("fixtures/playwright-junit.xml")).unwrap();
    assert_eq!(
        lines(&results),
        [
            "Login | accepts a known user | passed | 1204 | 0",
            "Login › with SSO | redirects | failed | 4612 | 0",
            " | opens the help | skipped | 0 | 0",
        ]
    );
    assert!(results.iter().all(|result| result.file.as_deref() == Some("login.spec.ts")));
    assert!(!results[1].message.as_deref().unwrap().contains("ATTACHMENT"));
}

#[test]
fn node_test() {
    let results = parse(include_str!("fixtures/node-test.xml")).unwrap();
    assert_eq!(
        lines(&results),
        [
            "inner | works | passed | 1 | 0",
            "inner | fails | failed | 1 | 0",
            "inner | skips | skipped | 0 | 0",
            " | top | passed | 0 | 0",
        ]
    );
    let message = results[1].message.as_deref().unwrap();
    assert!(message.starts_with("[Error [ERR_TEST_FAILURE]: 1 == 2] {\n"), "{message}");
}

#[test]
fn suites_nest_and_an_error_before_any_test_is_a_result() {
    let results = parse(
        "\u{feff}<?xml version='1.0'?><!DOCTYPE testsuites><testsuites><testsuite name='outer' file='o.rb'>\
         <testsuite name='inner'><testcase name='a'/><testcase/></testsuite>\
         <error message='no database'/><testcase name='b' classname='C' status='notrun'/></testsuite></testsuites>",
    )
    .unwrap();
    assert_eq!(
        lines(&results),
        [
            "inner | a | passed | 0 | 0",
            "inner | (unnamed) | passed | 0 | 0",
            "outer | (suite) | failed | 0 | 0",
            "C | b | skipped | 0 | 0"
        ]
    );
    assert!(results.iter().all(|result| result.file.as_deref() == Some("o.rb")));
    assert_eq!(results[2].message.as_deref(), Some("no database"));
    assert_eq!(parse("<testsuites/>").unwrap(), []);
}

#[test]
fn absurd_numbers_do_not_fail_a_report() {
    for (time, kept) in [
        ("NaN", 0),
        ("-5", 0),
        ("inf", 2_592_000_000),
        ("1e308", 2_592_000_000),
        ("1,234.5", 1_234_500),
        ("", 0),
        ("x", 0),
    ] {
        let results = parse(&format!("<testsuite><testcase name='a' time='{time}'/></testsuite>")).unwrap();
        assert_eq!(results[0].duration_ms, kept, "{time}");
    }
}

#[test]
fn names_and_messages_are_clean_and_bounded() {
    let long = "ä".repeat(40_000);
    let results = parse(&format!(
        "<testsuite name='s&#10;fake log line'><testcase name='a&#27;[31mb&#13;&#10;c{long}' classname='{long}'>\
         <failure>&#x1b;[1mbold&#27;[0m &lt;img onerror=x&gt; {long}</failure></testcase></testsuite>"
    ))
    .unwrap();
    assert!(results[0].name.starts_with("ab  cä") && results[0].name.len() <= 1024);
    assert!(results[0].suite.len() <= 512);
    let message = results[0].message.as_deref().unwrap();
    assert!(message.starts_with("bold <img onerror=x> ä"), "{}", &message[..40]);
    assert!(message.ends_with("\n… (cut after 8 KiB)") && message.len() < 8300);
}

#[test]
fn entity_expansion_is_refused() {
    let mut laughs = String::from("<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY lol \"lol\">");
    for level in 1..10 {
        let previous = if level == 1 { "lol".to_owned() } else { format!("lol{}", level - 1) };
        write!(laughs, "<!ENTITY lol{level} \"{}\">", format!("&{previous};").repeat(10)).unwrap();
    }
    laughs.push_str("]><testsuite name=\"&lol9;\"><testcase name=\"a\"/></testsuite>");
    let error = refusal(&laughs);
    assert!(matches!(error, ReportError::Doctype { .. }), "{error}");
    assert!(error.to_string().contains("declares entities"));
    let external = "<!DOCTYPE t [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>\n<testsuite><testcase name='&x;'/></testsuite>";
    assert!(matches!(refusal(external), ReportError::Doctype { line: 1 }));
}

#[test]
fn references_nobody_declared_stay_as_they_are() {
    let xml = "<testsuite><testcase name='&lol; &amp; &#0;'><failure>&lol9; a & b &#0; &#65;</failure></testcase></testsuite>";
    let results = parse(xml).unwrap();
    assert_eq!(results[0].name, "&lol; & &#0;");
    assert_eq!(results[0].message.as_deref(), Some("&lol9; a & b &#0; A"));
}

#[test]
fn a_broken_document_is_refused_with_its_line() {
    for (xml, line) in [
        ("<testsuite>\n<testcase name='a'>\n</testsuite>", 3),
        ("<testsuite>\n<testcase name='a'/>\n", 3),
        ("<testsuite>\n<testcase name='a", 2),
        ("<testsuite>\n<testcase name=a/></testsuite>", 2),
        ("<testsuite/>\n<testsuite/>", 2),
        ("<testsuite/>\n\ntrailing", 3),
        ("<testsuite>\n<![CDATA[", 2),
        ("</testsuite>", 1),
    ] {
        match refusal(xml) {
            ReportError::Xml { line: found, .. } => assert_eq!(found, line, "{xml}"),
            other => panic!("{xml}: {other:?}"),
        }
    }
    for xml in ["", "  ", "<html><body/></html>", "<testcase name='a'/>", "<a\u{202e}b/>"] {
        assert!(matches!(refusal(xml), ReportError::NotAReport { .. }), "{xml}");
    }
    let nested = "<testsuite><testcase name='a'><testcase name='b'/></testcase></testsuite>";
    assert!(matches!(refusal(nested), ReportError::NotAReport { .. }));
}

#[test]
fn other_encodings_are_refused_by_name() {
    let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><testsuite name='\xfc'/>";
    let error = junit::parse(&latin[..], &ReportLimits::default()).unwrap_err();
    assert!(error.to_string().contains("\"ISO-8859-1\""), "{error}");
    let undeclared = b"<testsuite>\n<testcase name='\xfc'/></testsuite>";
    let error = junit::parse(&undeclared[..], &ReportLimits::default()).unwrap_err();
    assert!(matches!(error, ReportError::NotUtf8 { line: 2 }), "{error:?}");
    for utf16 in [
        "\u{feff}<testsuite/>".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
        "\u{feff}<testsuite/>".encode_utf16().flat_map(u16::to_be_bytes).collect(),
    ] {
        let error = junit::parse(&utf16[..], &ReportLimits::default()).unwrap_err();
        assert!(matches!(error, ReportError::Encoding { .. }), "{error:?}");
    }
}

/// `times` repetitions of `piece` between `before` and `after`, made while they are read.
fn generated(before: &str, piece: &str, times: u64, after: &str) -> impl Read {
    struct Repeated(Vec<u8>, u64, usize);
    impl Read for Repeated {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut written = 0;
            while written < buffer.len() && self.1 > 0 {
                let part = &self.0[self.2..];
                let length = part.len().min(buffer.len() - written);
                buffer[written..written + length].copy_from_slice(&part[..length]);
                written += length;
                self.2 += length;
                if self.2 == self.0.len() {
                    (self.1, self.2) = (self.1 - 1, 0);
                }
            }
            Ok(written)
        }
    }
    let piece = piece.as_bytes().repeat(64);
    Cursor::new(before.to_owned()).chain(Repeated(piece, times / 64, 0)).chain(Cursor::new(after.to_owned()))
}

/// Counts what was taken from a reader.
struct Counting<R>(R, u64);

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1 += read as u64;
        Ok(read)
    }
}

const GIB: u64 = 1 << 30;

#[test]
fn a_gigabyte_of_output_is_refused_after_the_limit() {
    let line = "<system-out>nothing to see in this line of output</system-out>\n";
    let mut reader = Counting(
        generated("<testsuite><testcase name='a'>", line, GIB / line.len() as u64, "</testcase></testsuite>"),
        0,
    );
    let error = junit::parse(&mut reader, &ReportLimits::default()).unwrap_err();
    assert!(matches!(error, ReportError::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("64 MiB"), "{error}");
    assert!(reader.1 <= (64 << 20) + 1, "{}", reader.1);
}

#[test]
fn a_gigabyte_of_tests_is_refused_after_the_limit() {
    let test = "<testcase name='a test' classname='of.a.class' time='0.1'/>\n";
    let mut reader = Counting(generated("<testsuite>", test, GIB / test.len() as u64, "</testsuite>"), 0);
    let error = junit::parse(&mut reader, &ReportLimits::default()).unwrap_err();
    assert!(error.to_string().contains("more than 50000 results"), "{error}");
    assert!(reader.1 < 4 << 20, "{}", reader.1);
}

#[test]
fn a_gigabyte_in_one_piece_is_refused_before_it_is_in_memory() {
    for before in [
        "<testsuite><testcase><failure>",
        "<testsuite><testcase><failure><![CDATA[",
        "<testsuite><testcase name='",
        "<testsuite><!--",
        "<!DOCTYPE ",
        "<testsuite><",
        "<testsuite><testcase><failure>&",
    ] {
        let mut reader = Counting(generated(before, "aaaaaaaaaaaaaaaa", GIB / 16, ""), 0);
        let limits = ReportLimits { item_bytes: 1 << 20, ..ReportLimits::default() };
        let error = junit::parse(&mut reader, &limits).unwrap_err();
        assert!(matches!(error, ReportError::ItemTooLarge { .. }), "{before}: {error}");
        assert!(reader.1 < 2 << 20, "{before}: {}", reader.1);
    }
}

#[test]
fn depth_and_attributes_are_limited() {
    assert!(matches!(refusal(&"<testsuite>".repeat(100_000)), ReportError::TooDeep { limit: 64 }));
    let deep = format!("<testsuite><testcase><failure>{}", "<a>".repeat(100_000));
    assert!(matches!(refusal(&deep), ReportError::TooDeep { .. }));
    let mut wide = String::from("<testsuite><testcase ");
    for attribute in 0..200_000 {
        write!(wide, "a{attribute}='' ").unwrap();
    }
    wide.push_str("/></testsuite>");
    assert!(refusal(&wide).to_string().contains("more than 256 attributes"));
}

#[test]
fn a_repeated_suite_name_cannot_grow_into_gigabytes() {
    let xml = format!("<testsuite name='{}'>{}", "s".repeat(10_000), "<testcase name='a'/>".repeat(50_000));
    let limits = ReportLimits { names_bytes: 1 << 20, ..ReportLimits::default() };
    let error = junit::parse(xml.as_bytes(), &limits).unwrap_err();
    assert!(matches!(error, ReportError::NamesTooLarge { .. }), "{error}");
}

#[test]
fn every_result_is_kept_when_all_messages_together_are_too_long() {
    let case = format!("<testcase name='a test'><failure>{}</failure></testcase>", "m".repeat(1000));
    let results = parse(&format!("<testsuite>{}</testsuite>", case.repeat(30_000))).unwrap();
    assert_eq!(results.len(), 30_000);
    assert_eq!(results[0].message.as_ref().unwrap().len(), 1000);
    assert!(results[29_999].message.as_ref().unwrap().starts_with("(left out"));
    assert!(
        results.iter().filter_map(|result| result.message.as_ref()).map(String::len).sum::<usize>()
            < 18 << 20
    );
}

#[test]
fn an_input_error_passes_through() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let error = junit::parse(Cursor::new("<testsuite>").chain(Broken), &ReportLimits::default()).unwrap_err();
    assert!(matches!(error, ReportError::Read(error) if error.kind() == io::ErrorKind::ConnectionReset));
}

fn any_markup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<testsuite name='s'>".to_owned()),
        Just("</testsuite>".to_owned()),
        Just("<testcase name='a' time='1'>".to_owned()),
        Just("</testcase>".to_owned()),
        Just("<failure message='&lt;&#27;&x;'>".to_owned()),
        Just("</failure>".to_owned()),
        Just("<flakyError/><skipped/>".to_owned()),
        Just("<![CDATA[x]]>".to_owned()),
        Just("<!DOCTYPE a>".to_owned()),
        "[<>&;!?'\"a-z\\[\\]/= \n-]{0,6}",
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = junit::parse(&bytes[..], &ReportLimits::default());
        let _ = junit::begins(&bytes);
    }

    #[test]
    fn any_markup_gives_clean_results_or_a_clean_refusal(markup in any_markup(), whole in any::<bool>()) {
        let xml = if whole { format!("<testsuites>{markup}</testsuites>") } else { markup };
        let _ = junit::begins(xml.as_bytes());
        match parse(&xml) {
            Ok(results) => for result in results {
                prop_assert!(!result.name.chars().any(char::is_control) && !result.name.is_empty());
                prop_assert!(result.status != TestStatus::Passed || result.message.is_none());
            },
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control)),
        }
    }

    #[test]
    fn every_test_comes_back(names in proptest::collection::vec("[a-zA-Z0-9_\\[\\]<>&'\" é-]{0,30}x", 0..30)) {
        let escape = |name: &str| name.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;");
        let cases: String = names.iter().map(|name| format!("<testcase name='{}'/>", escape(name))).collect();
        let results = parse(&format!("<testsuite>{cases}</testsuite>")).unwrap();
        let found: Vec<_> = results.into_iter().map(|result| result.name).collect();
        let expected: Vec<_> = names.iter().map(|name| name.trim().to_owned()).collect();
        prop_assert_eq!(found, expected);
    }
}

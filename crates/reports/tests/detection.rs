//! Which collected files are taken for test reports.

use gantry_reports::{ArtifactPath, DETECTION_HEAD_BYTES, ReportFormat, ReportLimits, detect, parse};

fn detected(path: &str, head: &[u8]) -> Option<ReportFormat> {
    ArtifactPath::parse(path).ok().and_then(|path| detect(&path, head))
}

#[test]
fn every_fixture_is_detected_by_its_head_and_then_parsed() {
    let directory = format!("{}/tests/fixtures", env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let head = &bytes[..bytes.len().min(DETECTION_HEAD_BYTES)];
        let expected =
            if name.ends_with(".json") { ReportFormat::PlaywrightJson } else { ReportFormat::Junit };
        assert_eq!(detected(&format!("out/{name}"), head), Some(expected), "{name}");
        // Shorter heads, as a small first chunk would give.
        assert_eq!(detected(name, &head[..head.len().min(300)]), Some(expected), "{name}");
        assert!(!parse(expected, &bytes[..], &ReportLimits::default()).unwrap().is_empty(), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 8);
}

#[test]
fn junit_is_told_by_its_first_element() {
    for head in [
        "<testsuite name='a'",
        "\u{feff}  \n<?xml version='1.0'?><!-- by x --><?pi?><!DOCTYPE a [<!ENTITY b 'c'>]>\n<testsuites>",
        "<testsuites/>",
        "<j:testsuite xmlns:j='x'>",
    ] {
        assert_eq!(detected("a/TEST-x.XML", head.as_bytes()), Some(ReportFormat::Junit), "{head}");
        assert_eq!(detected("a/x.txt", head.as_bytes()), None);
    }
    for head in [
        "",
        "<coverage><testsuite/>",
        "<testsuitess>",
        "text <testsuite>",
        "<!-- <testsuite>",
        "</testsuite>",
        "\0\u{1}",
    ] {
        assert_eq!(detected("a.xml", head.as_bytes()), None, "{head}");
    }
}

#[test]
fn junit_in_utf16_is_detected_so_that_it_can_be_refused() {
    let bytes: Vec<u8> =
        "\u{feff}<?xml version='1.0'?><testsuite/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(detected("a.xml", &bytes), Some(ReportFormat::Junit));
    assert!(parse(ReportFormat::Junit, &bytes[..], &ReportLimits::default()).is_err());
}

#[test]
fn other_json_is_not_a_playwright_report() {
    for head in [
        "{\"compilerOptions\": {\"rootDir\": \"src\"}}",
        "{\"numFailedTestSuites\": 0, \"testResults\": []}",
        "[{\"suites\": [], \"specs\": []}]",
        "{\"name\": \"package\", \"config\": {}}",
        "",
    ] {
        assert_eq!(detected("a.json", head.as_bytes()), None, "{head}");
    }
    assert_eq!(detected("a.json", b"\n{\"suites\":[{\"specs\":[]}]}"), Some(ReportFormat::PlaywrightJson));
}

use axum::body::Body;
use axum::http::StatusCode;
use gantry_domain::id::RunId;
use gantry_domain::log::LogStream::{Stderr, Stdout, System};

use crate::sample::{Dice, Sample};
use crate::support::Harness;

#[tokio::test]
async fn text_is_the_output_as_it_was_written() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    assert_eq!(harness.get(held.id, "/logs", &[]).await.text(), "");
    harness.append(&held, 0, System, b"pulling\n").await;
    harness.append(&held, 8, Stdout, b"out \xff\xfe\n").await;
    harness.append(&held, 15, Stderr, b"err\n").await;
    let so_far = harness.get(held.id, "/logs", &[]).await;
    assert_eq!((so_far.status, &so_far.bytes[..]), (StatusCode::OK, &b"out \xff\xfe\nerr\n"[..]));
    assert_eq!(so_far.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(so_far.header("accept-ranges"), "bytes");
    let all = harness.get(held.id, "/logs?system=1", &[]).await;
    assert_eq!(&all.bytes[..], b"pulling\nout \xff\xfe\nerr\n");
    assert_eq!(all.header("content-length"), "19");
    harness.append(&held, 19, Stdout, b"more").await;
    harness.finish(&held, 0, 23).await;
    assert_eq!(
        &harness.get(held.id, "/logs?system=0&attempt=1", &[]).await.bytes[..],
        b"out \xff\xfe\nerr\nmore"
    );
}

/// Compares ranges with slices of `whole`.
pub async fn ranges_are_slices(harness: &Harness, id: RunId, query: &str, whole: &[u8], rounds: u64) {
    let length = whole.len() as u64;
    let mut dice = Dice::new(length);
    let mut cuts: Vec<(String, std::ops::Range<u64>)> = vec![
        ("0-0".to_owned(), 0..1),
        ("0-".to_owned(), 0..length),
        (format!("{}-", length - 1), length - 1..length),
        ("-1".to_owned(), length - 1..length),
        (format!("-{}", length + 5), 0..length),
        (format!("0-{}", length * 2), 0..length),
    ];
    for _ in 0..rounds {
        let from = dice.below(length);
        let to = from + dice.below((length - from).min(5_000));
        cuts.push((format!("{from}-{to}"), from..to + 1));
        let last = 1 + dice.below(length.min(9_000));
        cuts.push((format!("-{last}"), length - last..length));
    }
    for (range, slice) in cuts {
        let answer = harness.get(id, &format!("/logs{query}"), &[("range", &format!("bytes={range}"))]).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(
            answer.header("content-range"),
            format!("bytes {}-{}/{length}", slice.start, slice.end - 1)
        );
        assert_eq!(answer.header("content-length"), (slice.end - slice.start).to_string());
        assert!(answer.bytes == whole[slice.start as usize..slice.end as usize], "{range} of {length}");
    }
    let behind = harness.get(id, &format!("/logs{query}"), &[("range", &format!("bytes={length}-"))]).await;
    assert_eq!(
        (behind.status, behind.code()),
        (StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable".to_owned())
    );
    assert_eq!(behind.header("content-range"), format!("bytes */{length}"));
}

#[tokio::test]
async fn every_range_is_a_slice_of_the_text() {
    let harness = Harness::new().await;
    for (seed, size) in [(1, 300), (2, 60_000), (3, 700_000)] {
        let sample = Sample::mixed(seed, size);
        let held = harness.running().await;
        sample.append_to(&harness, &held).await;
        ranges_are_slices(&harness, held.id, "", &sample.output, 60).await;
        ranges_are_slices(&harness, held.id, "?system=1", &sample.everything, 60).await;
    }
}

#[tokio::test]
async fn ranges_of_a_growing_log_see_what_is_there() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    let sample = Sample::mixed(7, 200_000);
    let mut shown = 0;
    for (nth, chunk) in sample.chunks.iter().enumerate() {
        harness.send_log(&held, chunk).await;
        shown += chunk
            .segments()
            .iter()
            .filter(|segment| segment.stream != System)
            .map(|segment| segment.length as usize)
            .sum::<usize>();
        if nth % 10 == 0 && shown > 0 {
            ranges_are_slices(&harness, held.id, "", &sample.output[..shown], 3).await;
        }
    }
}

#[tokio::test]
async fn what_is_no_single_range_is_answered_in_full() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    harness.append(&held, 0, Stdout, b"0123456789").await;
    for range in ["bytes=0-1,3-4", "lines=1-2", "bytes=x", "bytes=5-2"] {
        let answer = harness.get(held.id, "/logs", &[("range", range)]).await;
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "0123456789"), "{range}");
    }
    let conditional = harness.get(held.id, "/logs", &[("range", "bytes=0-1"), ("if-range", "\"x\"")]).await;
    assert_eq!(conditional.status, StatusCode::OK);
}

#[tokio::test]
async fn an_empty_log_is_empty() {
    let harness = Harness::new().await;
    let waiting = harness.create(serde_json::json!({"pool": "elsewhere"})).await;
    let held = harness.running().await;
    for id in [waiting, held.id] {
        let answer = harness.get(id, "/logs", &[]).await;
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, ""));
        let range = harness.get(id, "/logs", &[("range", "bytes=0-")]).await;
        assert_eq!(
            (range.status, range.header("content-range")),
            (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */0")
        );
    }
}

#[tokio::test]
async fn wrong_questions_are_refused_by_name() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    for (below, status, code) in [
        ("/logs?attempt=2", StatusCode::NOT_FOUND, "not_found"),
        ("/logs?attempt=0", StatusCode::NOT_FOUND, "not_found"),
        ("/logs?attempt=2&follow=1", StatusCode::NOT_FOUND, "not_found"),
        ("/logs?attempt=x", StatusCode::BAD_REQUEST, "invalid_parameter"),
        ("/logs?system=maybe", StatusCode::BAD_REQUEST, "invalid_parameter"),
        ("/logs?tail=1", StatusCode::BAD_REQUEST, "invalid_parameter"),
    ] {
        let answer = harness.get(held.id, below, &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{below}");
    }
}

#[tokio::test]
async fn another_tenants_log_does_not_exist() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    harness.append(&held, 0, Stdout, b"secret").await;
    let stranger = harness.stranger().await;
    for below in ["/logs", "/logs?follow=1", "/events"] {
        let path = format!("/api/v1/runs/{}{below}", held.id);
        let theirs = harness.call("GET", &path, &stranger, &[], Body::empty()).await;
        assert_eq!(theirs.status(), StatusCode::NOT_FOUND, "{below}");
        let nobodys = harness.call("GET", &path, "gantry_x", &[], Body::empty()).await;
        assert_eq!(nobodys.status(), StatusCode::UNAUTHORIZED, "{below}");
    }
}

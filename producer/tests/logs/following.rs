use axum::http::StatusCode;
use futures::StreamExt as _;
use gantry_domain::log::LogStream::{Stderr, Stdout};
use serde_json::json;

use crate::sample::Sample;
use crate::support::{Harness, eventually, follows};

#[tokio::test]
async fn a_follower_sees_every_byte_once_while_it_is_written() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    let sample = Sample::mixed(11, 400_000);
    let half = sample.chunks.len() / 2;
    for chunk in &sample.chunks[..half] {
        harness.send_log(&held, chunk).await;
    }
    let mut early = harness.follow(held.id, None).await;
    let write = async {
        for chunk in &sample.chunks[half..] {
            harness.send_log(&held, chunk).await;
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        harness.finish(&held, 0, sample.end()).await;
    };
    let read = async {
        let bytes = early.log_until(0, sample.end()).await;
        assert!(bytes == sample.everything);
        early.rest().await
    };
    let ((), rest) = tokio::join!(write, read);
    let [end] = &rest[..] else { panic!("{rest:?}") };
    assert_eq!((end.name.as_str(), &end.json()["status"]), ("end", &json!("passed")));
    assert_eq!(end.json(), harness.get(held.id, "", &[]).await.json());
}

#[tokio::test]
async fn a_follower_may_resume_at_any_byte() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    let text = "aé€😀\nplain\n\"x\"";
    harness.append(&held, 0, Stdout, text.as_bytes()).await;
    harness.append(&held, text.len() as u64, Stderr, b"\xff\xfe!").await;
    let whole = [text.as_bytes(), b"\xff\xfe!"].concat();
    let end = whole.len() as u64;
    // While it runs, and when it is over.
    for round in 0..2 {
        for at in 0..=end {
            let mut follower = harness.follow(held.id, Some(&format!("1:{at}"))).await;
            assert_eq!(follower.log_until(at, end).await, whole[at as usize..], "from {at}");
            if round == 1 {
                assert_eq!(
                    follower.rest().await.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(),
                    ["end"]
                );
            }
        }
        if round == 0 {
            harness.finish(&held, 0, end).await;
        }
    }
}

#[tokio::test]
async fn what_is_not_an_id_is_refused() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    for id in ["", "1", "1:", ":1", "a:b", "1:-1", "1:1:1", "+1:0", "2:0", "0:0", "1:99999999999999999999"] {
        let answer = harness.get(held.id, "/logs?follow=1", &[("last-event-id", id)]).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_parameter"),
            "{id:?}"
        );
    }
}

#[tokio::test]
async fn characters_that_arrive_in_pieces_stay_whole() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    let mut follower = harness.follow(held.id, None).await;
    let (mut seen, mut at, mut end) = (Vec::new(), 0, 0);
    for (character, cut) in [("é", 1), ("€", 1), ("€", 2), ("😀", 1), ("😀", 2), ("😀", 3)] {
        // The letter before it arrives: so the beginning of the character has been looked at, and waits.
        let (begin, rest) = character.as_bytes().split_at(cut);
        end = harness.append(&held, end, Stdout, &[b"z", begin].concat()).await;
        at = follows(&follower.next().await.unwrap(), at, &mut seen);
        assert_eq!(at, end - cut as u64);
        end = harness.append(&held, end, Stdout, rest).await;
        let event = follower.next().await.unwrap();
        assert_eq!(event.log().text.as_deref(), Some(character));
        at = follows(&event, at, &mut seen);
    }
    assert_eq!(String::from_utf8(seen).unwrap(), "zéz€z€z😀z😀z😀");
    // At the end nothing is held back, whole or not.
    harness.append(&held, end, Stdout, &[0xc3]).await;
    harness.finish(&held, 0, end + 1).await;
    let last = follower.next().await.unwrap();
    assert_eq!((last.log().offset, last.log().bytes().unwrap()), (end, vec![0xc3]));
    assert_eq!(follower.next().await.unwrap().name, "end");
}

#[tokio::test]
async fn a_retry_is_announced_and_followed() {
    let harness = Harness::new().await;
    let retries = json!({"retries": {"max": 2, "on": ["failed"], "backoff_seconds": 0}});
    let first = harness.running_with(retries).await;
    let mut live = harness.follow(first.id, None).await;
    harness.append(&first, 0, Stdout, b"first").await;
    assert_eq!(live.log_until(0, 5).await, b"first");
    assert_eq!(harness.finish(&first, 1, 5).await, "pending");
    let second = harness.claim_next().await;
    assert_eq!((second.id, second.attempt), (first.id, 2));
    let announced = live.next().await.unwrap();
    assert_eq!((announced.name.as_str(), announced.json()), ("attempt", json!({"attempt": 2})));
    assert_eq!(announced.id.as_deref(), Some("2:0"));
    harness.append(&second, 0, Stdout, b"second").await;
    assert_eq!(live.log_until(0, 6).await, b"second");
    assert_eq!(harness.finish(&second, 1, 6).await, "pending");
    let third = harness.claim_next().await;
    assert_eq!(harness.finish(&third, 0, 0).await, "unstable");
    let rest = live.rest().await;
    assert_eq!(rest.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["attempt", "end"]);
    // From the middle of the first one, through all of them.
    let mut late = harness.follow(first.id, Some("1:2")).await;
    assert_eq!(late.log_until(2, 5).await, b"rst");
    assert_eq!(late.next().await.unwrap().json(), json!({"attempt": 2}));
    assert_eq!(late.log_until(0, 6).await, b"second");
    assert_eq!(late.next().await.unwrap().json(), json!({"attempt": 3}));
    assert_eq!(late.next().await.unwrap().name, "end");
    let mut resumed = harness.follow(first.id, Some("2:6")).await;
    assert_eq!(resumed.next().await.unwrap().json(), json!({"attempt": 3}));
    let mut default = harness.follow(first.id, None).await;
    assert_eq!(default.next().await.unwrap().name, "end", "the last attempt is the default");
    let mut named = harness.events(&format!("/api/v1/runs/{}/logs?follow=1&attempt=1", first.id), None).await;
    assert_eq!(named.log_until(0, 5).await, b"first");
    assert_eq!(harness.get(first.id, "/logs?attempt=2", &[]).await.text(), "second");
}

#[tokio::test]
async fn a_run_that_waits_is_followed_from_its_first_byte() {
    let harness = Harness::new().await;
    let id = harness.create(json!({})).await;
    let mut follower = harness.follow(id, None).await;
    let held = harness.claim_next().await;
    harness.append(&held, 0, Stdout, b"hi\n").await;
    assert_eq!(follower.log_until(0, 3).await, b"hi\n");
    harness.finish(&held, 0, 3).await;
    assert_eq!(follower.next().await.unwrap().name, "end");
    let never = harness.create(json!({"pool": "elsewhere"})).await;
    let mut follower = harness.follow(never, None).await;
    let cancelled = harness.request("POST", &format!("/api/v1/runs/{never}/cancel")).await;
    assert!(cancelled.status.is_success(), "{}", cancelled.text());
    assert_eq!(follower.next().await.unwrap().json()["status"], "cancelled");
}

#[tokio::test]
async fn followers_who_come_and_go_at_any_time_all_see_the_same() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    let sample = Sample::mixed(5, 300_000);
    let write = async {
        for chunk in &sample.chunks {
            harness.send_log(&held, chunk).await;
            tokio::task::yield_now().await;
        }
        harness.finish(&held, 0, sample.end()).await;
    };
    let followers = (0..12_u64).map(|nth| {
        let (harness, held, sample) = (&harness, &held, &sample);
        async move {
            eventually("there is some log", async || {
                let end = harness.stores.logs.end(key(harness, held)).await.unwrap();
                end >= nth * sample.end() / 13
            })
            .await;
            // Each interrupts itself a few times and resumes.
            let (mut seen, mut at) = (Vec::new(), 0);
            for round in 0..4 {
                let from = format!("1:{at}");
                let mut follower = harness.follow(held.id, (at > 0).then_some(from.as_str())).await;
                let until =
                    if round == 3 { sample.end() } else { (at + 20_000 * (nth + 1)).min(sample.end()) };
                let bytes = follower.log_until(at, until).await;
                at += bytes.len() as u64;
                seen.extend(bytes);
            }
            assert!(seen == sample.everything, "follower {nth}");
        }
    });
    tokio::join!(write, futures::future::join_all(followers));
    eventually("nobody listens any more", async || harness.bus.topics() == 0).await;
}

fn key(harness: &Harness, held: &crate::support::Held) -> gantry_store::LogKey {
    gantry_store::LogKey { organization: harness.organization, run: held.id, attempt: held.attempt }
}

#[tokio::test]
async fn who_reads_nothing_holds_up_nobody() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    let mut stuck = harness.follow(held.id, None).await;
    harness.append(&held, 0, Stdout, b"first\n").await;
    assert_eq!(stuck.log_until(0, 6).await, b"first\n");
    // It reads no more; the log grows far beyond what is kept for followers.
    let piece: Vec<u8> = (0..256 * 1024).map(|n| b"0123456789abcdef\n"[n % 17]).collect();
    let mut quick = harness.follow(held.id, Some("1:6")).await;
    let (mut whole, mut at) = (b"first\n".to_vec(), 6);
    while at < 20 << 20 {
        at = harness.append(&held, at, Stdout, &piece).await;
        whole.extend_from_slice(&piece);
    }
    assert!(quick.log_until(6, at).await == whole[6..]);
    harness.finish(&held, 0, at).await;
    assert_eq!(quick.next().await.unwrap().name, "end");
    // When it goes on, it misses nothing.
    assert!(stuck.log_until(6, at).await == whole[6..]);
    assert_eq!(stuck.next().await.unwrap().name, "end");
}

#[tokio::test]
async fn what_the_bus_loses_is_found_in_the_store() {
    let harness = Harness::deaf().await;
    let retries = json!({"retries": {"max": 1, "on": ["failed"], "backoff_seconds": 0}});
    let first = harness.running_with(retries).await;
    let mut follower = harness.follow(first.id, None).await;
    harness.append(&first, 0, Stdout, b"one").await;
    assert_eq!(follower.log_until(0, 3).await, b"one");
    harness.append(&first, 3, Stdout, b"two").await;
    harness.finish(&first, 1, 6).await;
    let second = harness.claim_next().await;
    harness.append(&second, 0, Stdout, b"three").await;
    assert_eq!(follower.log_until(3, 6).await, b"two");
    assert_eq!(follower.next().await.unwrap().name, "attempt");
    assert_eq!(follower.log_until(0, 5).await, b"three");
    harness.finish(&second, 0, 5).await;
    assert_eq!(follower.next().await.unwrap().name, "end");
}

#[tokio::test]
async fn a_deleted_run_has_no_log_to_follow() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    harness.append(&held, 0, Stdout, b"x").await;
    harness.finish(&held, 0, 1).await;
    let path = format!("/api/v1/runs/{}", held.id);
    assert_eq!(harness.request("DELETE", &path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(harness.get(held.id, "/logs?follow=1", &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn at_shutdown_followers_are_asked_to_come_back() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    harness.append(&held, 0, Stdout, b"so far").await;
    let mut follower = harness.follow(held.id, None).await;
    assert_eq!(follower.log_until(0, 6).await, b"so far");
    harness.shutdown.trigger();
    assert_eq!(follower.rest().await, []);
}

/// What happens to a run need not be news for its log: who waits for its first byte is told all the same that the stream lives.
#[tokio::test]
async fn a_follower_of_a_run_that_waits_is_told_that_the_stream_lives() {
    let harness = Harness::new().await;
    let id = harness.create(json!({"pool": "nobody"})).await;
    let path = format!("/api/v1/runs/{id}/logs?follow=1");
    let response = harness.call("GET", &path, harness.key(), &[], axum::body::Body::empty()).await;
    let mut body = response.into_body().into_data_stream();
    let mut heard = String::new();
    let listen = async {
        while !heard.contains(": alive\n\n") {
            heard.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(40), listen).await.expect("no sign of life");
}

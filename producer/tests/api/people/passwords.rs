//! Passwords: guessing, changing, forgetting.

use std::time::{Duration, Instant};

use axum::http::Method;
use futures::future::join_all;
use gantry_domain::role::Role;
use serde_json::{Value, json};

use super::{PASSWORD, Town};
use crate::installation::Answer;

async fn guess(town: &Town, address: &str, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password, "delivery": "body"});
    town.from(address, Method::POST, "/api/v1/auth/login", None, body).await
}

/// What somebody sees who guesses, but for what differs between any two requests.
fn seen(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    body["request_id"] = Value::Null;
    (answer.status.as_u16(), body)
}

#[tokio::test]
async fn nobody_learns_who_has_an_account() {
    let town = Town::new().await;
    let (known, disabled) =
        (town.member_with_password(Role::Member).await, town.member_with_password(Role::Member).await);
    let users = &town.installation.stores.users;
    let user = users.get(disabled.user).await.unwrap().unwrap();
    users.update(&user.disable(town.installation.now())).await.unwrap();
    let wrong = guess(&town, "192.0.2.1", &known.email, "not this one").await.refused(401, "unauthorized");
    for (email, password) in [
        ("nobody@example.com", PASSWORD),
        (disabled.email.as_str(), PASSWORD),
        ("no address", PASSWORD),
        (known.email.as_str(), &"x".repeat(100_000)),
        (known.email.as_str(), ""),
    ] {
        assert_eq!(seen(&guess(&town, "192.0.2.2", email, password).await), seen(&wrong), "{email}");
    }
    // As long for one as for the other: the work is the same, so within a factor that noise explains.
    let timed = async |email: &str, address: &str| {
        let begun = Instant::now();
        for _ in 0..4 {
            guess(&town, address, email, "not this one").await.refused(401, "unauthorized");
        }
        begun.elapsed()
    };
    let unknown = timed("somebody@example.com", "192.0.2.3").await;
    let known = town.member_with_password(Role::Member).await;
    let wrong = timed(&known.email, "192.0.2.4").await;
    assert!(unknown < wrong * 4 && wrong < unknown * 4, "{unknown:?} and {wrong:?}");
    // Locked looks the same as well.
    guess(&town, "192.0.2.5", &known.email, "x").await;
    guess(&town, "192.0.2.6", "somebody@example.com", "x").await;
    let locked = guess(&town, "192.0.2.7", &known.email, PASSWORD).await.refused(429, "rate_limited");
    let locked_too = guess(&town, "192.0.2.7", "somebody@example.com", PASSWORD).await;
    assert_eq!(seen(&locked), seen(&locked_too));
}

#[tokio::test]
async fn a_thousand_guesses_from_fifty_addresses_lock_one_account_and_no_one_else() {
    let town = Town::new().await;
    let (victim, other) =
        (town.member_with_password(Role::Member).await, town.member_with_password(Role::Member).await);
    let guesses =
        (0..1000).map(|i| {
            let (town, victim) = (&town, &victim);
            async move {
                guess(town, &format!("198.51.100.{}", i % 50), &victim.email, &format!("guess {i}")).await
            }
        });
    let answers = join_all(guesses).await;
    let judged = answers.iter().filter(|answer| answer.status == 401).count();
    let locked = answers.iter().filter(|answer| answer.status == 429).count();
    let busy = answers.iter().filter(|answer| answer.status == 503).count();
    assert_eq!(judged + locked + busy, 1000);
    assert!(judged <= 5, "{judged} guesses were looked at");
    let right = guess(&town, "192.0.2.9", &victim.email, PASSWORD).await.refused(429, "rate_limited");
    let wait: u64 = right.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    for address in ["192.0.2.9", "198.51.100.7"] {
        guess(&town, address, &other.email, PASSWORD).await.expect(200);
    }
    town.installation.advance(wait);
    guess(&town, "192.0.2.9", &victim.email, PASSWORD).await.expect(200);
    guess(&town, "192.0.2.9", &victim.email, "wrong").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn the_wait_grows_and_a_success_ends_it() {
    let town = Town::new().await;
    let ann = town.member_with_password(Role::Member).await;
    for _ in 0..5 {
        guess(&town, "192.0.2.1", &ann.email, "wrong").await.refused(401, "unauthorized");
    }
    let mut waits = Vec::new();
    for _ in 0..4 {
        let wait: u64 =
            guess(&town, "192.0.2.1", &ann.email, PASSWORD).await.header("retry-after").parse().unwrap();
        waits.push(wait);
        town.installation.advance(wait);
        guess(&town, "192.0.2.1", &ann.email, "wrong").await.refused(401, "unauthorized");
    }
    assert_eq!(waits, [30, 60, 120, 240]);
    town.installation.advance(480);
    guess(&town, "192.0.2.1", &ann.email, PASSWORD).await.expect(200);
    for _ in 0..4 {
        guess(&town, "192.0.2.1", &ann.email, "wrong").await.refused(401, "unauthorized");
    }
    guess(&town, "192.0.2.1", &ann.email, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn whoever_signs_in_too_often_waits() {
    let town = Town::with(|config| {
        let five = std::num::NonZeroU32::new(5).unwrap();
        config.identity.sign_ins = Some(gantry_ratelimit::Limit::per_minute(five, five));
    })
    .await;
    for i in 0..5 {
        guess(&town, "192.0.2.1", &format!("nobody{i}@example.com"), "x").await.refused(401, "unauthorized");
    }
    let refused = guess(&town, "192.0.2.1", "another@example.com", "x").await.refused(429, "rate_limited");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() <= 12);
    guess(&town, "192.0.2.2", "another@example.com", "x").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_storm_is_answered_as_fast_as_one_thread_hashes_and_holds_up_no_run() {
    let town = Town::with(|config| {
        config.identity.waiting_passwords = std::num::NonZeroUsize::new(10).unwrap();
    })
    .await;
    let token = &town.installation.key;
    let submit = async || {
        let body = json!({"image": "busybox", "command": ["true"]});
        town.call(Method::POST, "/api/v1/runs", Some(token), body).await.expect(202);
    };
    let storm =
        join_all(
            (0..200).map(|i| {
                let town = &town;
                async move {
                    guess(town, &format!("198.51.100.{i}"), &format!("nobody{i}@example.com"), "x").await
                }
            }),
        );
    let work = async {
        for _ in 0..20 {
            submit().await;
        }
    };
    let (answers, ()) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(storm, work) }).await.unwrap();
    let judged = answers.iter().filter(|answer| answer.status == 401).count();
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert_eq!(judged + busy.len(), 200);
    assert!(judged >= 11, "those that found a place are answered: {judged}");
    assert!(!busy.is_empty());
    assert!(busy.iter().all(|answer| answer.header("retry-after") == "2"));
    // What was not judged is not counted against anybody.
    for (i, answer) in answers.iter().enumerate().take(20) {
        let subject = gantry_domain::identity::lockout::Subject::Account(
            format!("nobody{i}@example.com").parse().unwrap(),
        );
        let failures = town.installation.stores.sign_ins.failures(&subject).await.unwrap();
        let counted = failures.map_or(0, |failures| failures.count);
        assert_eq!(counted, u32::from(answer.status == 401));
    }
}

#[tokio::test]
async fn another_password_ends_every_session_but_the_new_one() {
    let town = Town::new().await;
    let ann = town.member_with_password(Role::Member).await;
    let change = async |current: &str, new: &str| {
        let body = json!({"current": current, "new": new, "delivery": "body"});
        town.call(Method::POST, "/api/v1/me/password", Some(&ann.token), body).await
    };
    let wrong = change("wrong", "another four random words").await.refused(422, "validation_failed");
    assert_eq!(wrong.json()["errors"][0]["pointer"], "/current");
    let weak = change(PASSWORD, "password").await.refused(422, "validation_failed");
    assert_eq!(weak.json()["errors"][0]["pointer"], "/new");
    let changed = change(PASSWORD, "another four random words").await.expect(200).json();
    let token = changed["access_token"].as_str();
    town.call(Method::GET, "/api/v1/me", token, Value::Null).await.expect(200);
    town.call(Method::GET, "/api/v1/me", Some(&ann.token), Value::Null).await.refused(401, "unauthorized");
    town.sign_in(&ann.email, PASSWORD).await.refused(401, "unauthorized");
    town.sign_in(&ann.email, "another four random words").await.expect(200);
}

#[tokio::test]
async fn a_forgotten_password_is_chosen_anew_by_a_mailed_link_once() {
    let town = Town::new().await;
    let ann = town.member_with_password(Role::Member).await;
    let forgot = async |email: &str| town.post("/api/v1/auth/password/forgot", json!({"email": email})).await;
    let reset = async |token: &str, password: &str| {
        town.post("/api/v1/auth/password/reset", json!({"token": token, "password": password})).await
    };
    let (known, unknown) =
        (forgot(&ann.email).await.expect(202), forgot("nobody@example.com").await.expect(202));
    assert_eq!(known.bytes, unknown.bytes);
    let token = town.mailed_token(&ann.email).await;
    reset(&token, "short").await.refused(422, "validation_failed");
    let both =
        tokio::join!(reset(&token, "some other random words"), reset(&token, "yet other random words"));
    let statuses = [both.0.status.as_u16(), both.1.status.as_u16()];
    assert!(statuses == [204, 409] || statuses == [409, 204], "{statuses:?}");
    town.call(Method::GET, "/api/v1/me", Some(&ann.token), Value::Null).await.refused(401, "unauthorized");
    let new = if statuses[0] == 204 { "some other random words" } else { "yet other random words" };
    town.sign_in(&ann.email, new).await.expect(200);

    forgot(&ann.email).await.expect(202);
    let late = town.mailed_token(&ann.email).await;
    town.installation.advance(3600);
    reset(&late, "too late for this one").await.refused(409, "conflict");
    assert_eq!(town.letters(), 0, "nobody else was written to");
}

#[tokio::test]
async fn without_mail_what_needs_it_says_so() {
    let town =
        Town::with(|config| config.identity.mail = gantry_producer::config::identity::MailConfig::Off).await;
    let admin = town.member(Role::Admin).await;
    let invite = json!({"email": "bob@example.com", "role": "viewer"});
    for answer in [
        town.post("/api/v1/auth/password/forgot", json!({"email": "a@example.com"})).await,
        town.post("/api/v1/auth/signup", json!({"email": "a@example.com"})).await,
        town.call(Method::POST, "/api/v1/organization/invitations", Some(&admin.token), invite).await,
    ] {
        assert!(answer.refused(422, "not_configured").text().contains("mail.to"));
    }
}

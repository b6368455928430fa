//! Refresh tokens: each works once, and a family dies with the first that is presented twice.

use std::time::Duration;

use axum::http::Method;
use futures::future::join_all;
use gantry_domain::role::Role;
use serde_json::{Value, json};

use super::Town;

async fn refresh(town: &Town, token: &str) -> crate::installation::Answer {
    town.post("/api/v1/auth/refresh", json!({"refresh_token": token})).await
}

fn successor(answer: &crate::installation::Answer) -> Option<String> {
    answer.json()["refresh_token"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn of_fifty_at_once_one_gets_the_successor() {
    let town = Town::new().await;
    let ann = town.member(Role::Member).await;
    let answers = join_all((0..50).map(|_| refresh(&town, &ann.refresh))).await;
    let successors: Vec<_> = answers.iter().filter_map(successor).collect();
    assert_eq!(successors.len(), 1, "never two that live");
    for answer in &answers {
        let token = answer.json()["access_token"].as_str().map(str::to_owned);
        town.call(Method::GET, "/api/v1/me", token.as_deref(), Value::Null).await.expect(200);
    }
    refresh(&town, &successors[0]).await.expect(200);
}

#[tokio::test]
async fn a_token_that_was_replaced_long_ago_ends_the_session() {
    let town = Town::new().await;
    let ann = town.member(Role::Member).await;
    let first = refresh(&town, &ann.refresh).await.expect(200);
    let second = refresh(&town, &successor(&first).unwrap()).await.expect(200);
    let access = second.json()["access_token"].as_str().unwrap().to_owned();
    town.installation.clock.advance(Duration::from_secs(11));
    refresh(&town, &ann.refresh).await.refused(401, "unauthorized");
    // Whoever has it, thief or owner, signs in again.
    refresh(&town, &successor(&second).unwrap()).await.refused(401, "unauthorized");
    town.call(Method::GET, "/api/v1/me", Some(&access), Value::Null).await.refused(401, "unauthorized");
    let admin = town.member(Role::Admin).await;
    let log =
        town.call(Method::GET, "/api/v1/audit?action=token_reused", Some(&admin.token), Value::Null).await;
    assert_eq!(log.expect(200).json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn replays_of_a_thief_never_leave_two_that_live() {
    let town = Town::new().await;
    let ann = town.member(Role::Member).await;
    let own = successor(&refresh(&town, &ann.refresh).await.expect(200)).unwrap();
    town.installation.clock.advance(Duration::from_secs(60));
    // The thief presents the old one while the owner goes on with the new one.
    let (thief, owner) = tokio::join!(refresh(&town, &ann.refresh), refresh(&town, &own));
    thief.refused(401, "unauthorized");
    if owner.status == 200 {
        let next = successor(&owner).unwrap();
        refresh(&town, &next).await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused_alike() {
    let town = Town::new().await;
    let ann = town.member(Role::Member).await;
    let half = ann.refresh.split('.').next().unwrap().to_owned();
    let swapped = ann.refresh.split('.').rev().collect::<Vec<_>>().join(".");
    for token in [ann.token.as_str(), &half, &swapped, "", ".", &town.installation.key, &"x".repeat(100_000)]
    {
        refresh(&town, token).await.refused(401, "unauthorized");
    }
    refresh(&town, &ann.refresh).await.expect(200);
}

#[tokio::test]
async fn a_session_ends_when_nobody_refreshes_it() {
    let town = Town::new().await;
    let ann = town.member(Role::Member).await;
    let day = Duration::from_secs(24 * 3600);
    town.installation.clock.advance(13 * day);
    let next = successor(&refresh(&town, &ann.refresh).await.expect(200)).unwrap();
    town.installation.clock.advance(14 * day);
    refresh(&town, &next).await.refused(401, "unauthorized");
}

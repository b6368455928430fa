//! What is taken away is gone within five seconds, on every replica, open streams included.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request, StatusCode};
use futures::StreamExt as _;
use gantry_domain::role::Role;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Person, Town};
use crate::installation::answer;

const SOON: Duration = Duration::from_secs(5);
/// Of a busy machine.
const LATE: Duration = Duration::from_secs(2);

async fn status(router: &Router, path: &str, token: &str) -> StatusCode {
    let request =
        Request::get(path).header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
    answer(router, request).await.status
}

async fn stream(router: &Router, token: &str) -> BodyDataStream {
    let request = Request::get("/api/v1/events")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().into_data_stream()
}

/// Takes something away, and waits until both replicas, and streams that were open on them, have noticed.
async fn taken(token: &str, path: &str, refused: StatusCode, town: &Town, take: impl AsyncFnOnce()) {
    let other = town.installation.replica().await.public_router();
    let routers = [&town.installation.public, &other];
    let mut streams = Vec::new();
    for router in routers {
        // Known and believed at both.
        assert_eq!(status(router, path, token).await, StatusCode::OK);
        streams.push(stream(router, token).await);
    }
    take().await;
    let begun = Instant::now();
    for router in routers {
        while status(router, path, token).await != refused {
            assert!(begun.elapsed() < SOON + LATE, "still believed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    for mut stream in streams {
        let ended = async { while stream.next().await.is_some() {} };
        let left = (SOON + LATE).saturating_sub(begun.elapsed());
        tokio::time::timeout(left, ended).await.expect("the stream ends");
    }
}

#[tokio::test]
async fn a_disabled_user() {
    let town = Town::new().await;
    let ann = town.member(Role::Member).await;
    taken(&ann.token, "/api/v1/me", StatusCode::UNAUTHORIZED, &town, async || {
        let users = &town.installation.stores.users;
        let user = users.get(ann.user).await.unwrap().unwrap();
        users.update(&user.disable(town.installation.now())).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key() {
    let town = Town::new().await;
    let ann = town.member(Role::Maintainer).await;
    let wanted = json!({"name": "ci", "scopes": ["runs:read"]});
    let made = town.call(Method::POST, "/api/v1/keys", Some(&ann.token), wanted).await.expect(201).json();
    let path = format!("/api/v1/keys/{}", made["key"]["id"].as_str().unwrap());
    taken(made["secret"].as_str().unwrap(), "/api/v1/runs", StatusCode::UNAUTHORIZED, &town, async || {
        town.call(Method::DELETE, &path, Some(&ann.token), Value::Null).await.expect(204);
    })
    .await;
}

#[tokio::test]
async fn a_session_that_ended() {
    let town = Town::new().await;
    let ann = town.member(Role::Viewer).await;
    taken(&ann.token, "/api/v1/runs", StatusCode::UNAUTHORIZED, &town, async || {
        town.post("/api/v1/auth/logout", json!({"refresh_token": ann.refresh})).await.expect(204);
    })
    .await;
}

#[tokio::test]
async fn a_member_who_was_sent_away() {
    let town = Town::new().await;
    let (admin, ann) = (town.member(Role::Admin).await, town.member(Role::Member).await);
    taken(&ann.token, "/api/v1/runs", StatusCode::FORBIDDEN, &town, async || {
        let path = format!("/api/v1/organization/members/{}", ann.user);
        town.call(Method::DELETE, &path, Some(&admin.token), Value::Null).await.expect(204);
    })
    .await;
}

#[tokio::test]
async fn a_role() {
    let town = Town::new().await;
    let (admin, ann) = (town.member(Role::Admin).await, town.member(Role::Maintainer).await);
    let other = town.installation.replica().await.public_router();
    assert_eq!(status(&other, "/api/v1/keys", &ann.token).await, StatusCode::OK);
    let change = async |role: &str| {
        let path = format!("/api/v1/organization/members/{}", ann.user);
        town.call(Method::PATCH, &path, Some(&admin.token), json!({"role": role})).await.expect(200);
    };
    let becomes = async |wanted: StatusCode| {
        let begun = Instant::now();
        while status(&other, "/api/v1/keys", &ann.token).await != wanted {
            assert!(begun.elapsed() < SOON + LATE);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    change("viewer").await;
    becomes(StatusCode::FORBIDDEN).await;
    change("admin").await;
    becomes(StatusCode::OK).await;
}

#[tokio::test]
async fn a_signing_key_goes_out_of_use_by_itself() {
    let town = Town::new().await;
    let Person { token, user, .. } = town.member(Role::Viewer).await;
    let keys = &town.installation.app().identity.keys;
    let new =
        gantry_producer::services::credentials::key::SigningKey::random("new".parse().unwrap()).to_config();
    assert!(keys.reload(&new).unwrap());
    assert!(!keys.reload(&new).unwrap());
    assert_eq!(status(&town.installation.public, "/api/v1/me", &token).await, StatusCode::UNAUTHORIZED);
    let fresh = super::session(&town.installation, user, Some(town.installation.organization)).await;
    assert_eq!(status(&town.installation.public, "/api/v1/me", &fresh.token).await, StatusCode::OK);
    assert!(keys.reload("nonsense").is_err());
    assert_eq!(status(&town.installation.public, "/api/v1/me", &fresh.token).await, StatusCode::OK);
}

//! API keys through the API.

use axum::http::Method;
use gantry_domain::role::Role;
use serde_json::{Value, json};

use super::Town;

const KEYS: &str = "/api/v1/keys";

#[tokio::test]
async fn a_key_is_shown_once_and_does_what_it_was_made_for() {
    let town = Town::new().await;
    let ann = town.member(Role::Maintainer).await;
    let wanted = json!({"name": "ci", "scopes": ["runs:write"], "expires_in_days": 30});
    let made = town.call(Method::POST, KEYS, Some(&ann.token), wanted).await.expect(201).json();
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with(made["key"]["prefix"].as_str().unwrap()));
    let run = json!({"image": "busybox", "command": ["true"]});
    town.call(Method::POST, "/api/v1/runs", Some(&secret), run).await.expect(202);
    town.call(Method::GET, KEYS, Some(&secret), Value::Null).await.refused(403, "forbidden");
    let listed = town.call(Method::GET, KEYS, Some(&ann.token), Value::Null).await.expect(200);
    assert!(!listed.text().contains(&secret));
    assert_eq!(listed.json()["items"][0]["last_used_at"], "2026-01-01T00:00:00.000Z");
    let me = town.call(Method::GET, "/api/v1/me", Some(&secret), Value::Null).await.expect(200).json();
    assert_eq!(
        (me["key"]["name"].as_str(), me["user"]["email"].as_str()),
        (Some("ci"), Some(ann.email.as_str()))
    );
    town.installation.advance(30 * 24 * 3600);
    town.call(Method::GET, "/api/v1/me", Some(&secret), Value::Null).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_key_can_be_replaced_and_ended() {
    let town = Town::new().await;
    let ann = town.member(Role::Maintainer).await;
    let wanted = json!({"name": "ci", "scopes": ["runs:read"]});
    let made = town.call(Method::POST, KEYS, Some(&ann.token), wanted).await.expect(201).json();
    let (old, path) =
        (made["secret"].as_str().unwrap(), format!("{KEYS}/{}", made["key"]["id"].as_str().unwrap()));
    let list = async |secret: &str| town.call(Method::GET, "/api/v1/runs", Some(secret), Value::Null).await;
    list(old).await.expect(200);
    let rotated = town
        .call(Method::POST, &format!("{path}/rotate"), Some(&ann.token), Value::Null)
        .await
        .expect(200)
        .json();
    let new = rotated["secret"].as_str().unwrap();
    list(old).await.refused(401, "unauthorized");
    list(new).await.expect(200);
    let admin = town.member(Role::Admin).await;
    town.call(Method::POST, &format!("{path}/rotate"), Some(&admin.token), Value::Null)
        .await
        .refused(409, "conflict");
    let other = town.member(Role::Maintainer).await;
    town.call(Method::DELETE, &path, Some(&other.token), Value::Null).await.refused(404, "not_found");
    let all =
        town.call(Method::GET, "/api/v1/keys?all=true", Some(&admin.token), Value::Null).await.expect(200);
    assert_eq!(all.json()["items"].as_array().unwrap().len(), 2);
    town.call(Method::GET, "/api/v1/keys?all=true", Some(&other.token), Value::Null)
        .await
        .refused(403, "forbidden");
    town.call(Method::DELETE, &path, Some(&admin.token), Value::Null).await.expect(204);
    town.call(Method::DELETE, &path, Some(&admin.token), Value::Null).await.expect(204);
    list(new).await.refused(401, "unauthorized");
    town.call(Method::POST, &format!("{path}/rotate"), Some(&ann.token), Value::Null)
        .await
        .refused(409, "conflict");
}

#[tokio::test]
async fn a_key_never_does_more_than_its_owner() {
    let town = Town::new().await;
    let (ann, admin) = (town.member(Role::Maintainer).await, town.member(Role::Admin).await);
    let wanted = json!({"name": "all", "scopes": ["admin"]});
    let made = town.call(Method::POST, KEYS, Some(&ann.token), wanted).await.expect(201).json();
    let secret = made["secret"].as_str().unwrap();
    town.call(Method::GET, "/api/v1/audit", Some(secret), Value::Null).await.refused(403, "forbidden");
    town.call(Method::GET, KEYS, Some(secret), Value::Null).await.expect(200);
    let path = format!("/api/v1/organization/members/{}", ann.user);
    town.call(Method::PATCH, &path, Some(&admin.token), json!({"role": "viewer"})).await.expect(200);
    town.call(Method::GET, KEYS, Some(secret), Value::Null).await.refused(403, "forbidden");
    town.call(Method::GET, "/api/v1/runs", Some(secret), Value::Null).await.expect(200);
    town.call(Method::DELETE, &path, Some(&admin.token), Value::Null).await.expect(204);
    town.call(Method::GET, "/api/v1/runs", Some(secret), Value::Null).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn what_is_no_key_is_refused_with_its_field() {
    let town = Town::new().await;
    let ann = town.member(Role::Maintainer).await;
    for (wanted, pointer) in [
        (json!({"name": "", "scopes": ["runs:read"]}), "/name"),
        (json!({"name": "a\nb", "scopes": ["runs:read"]}), "/name"),
        (json!({"name": "ci", "scopes": []}), "/scopes"),
        (json!({"name": "ci", "scopes": ["everything"]}), "/scopes/0"),
        (json!({"name": "ci", "scopes": ["runs:read"], "expires_in_days": 0}), "/expires_in_days"),
        (json!({"name": "ci", "scopes": ["runs:read"], "organization": "org"}), "/organization"),
    ] {
        let refused =
            town.call(Method::POST, KEYS, Some(&ann.token), wanted).await.refused(422, "validation_failed");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer);
    }
}

/// Whoever finds a key that ends does not get one that stays.
#[tokio::test]
async fn a_key_makes_no_key_that_outlives_it() {
    let town = Town::new().await;
    let ann = town.member(Role::Admin).await;
    let make = async |secret: &str, days: Option<u32>| {
        let wanted = json!({"name": "k", "scopes": ["admin"], "expires_in_days": days});
        town.call(Method::POST, KEYS, Some(secret), wanted).await.expect(201).json()
    };
    let forever = make(&ann.token, None).await;
    let found = make(&ann.token, Some(2)).await;
    let secret = found["secret"].as_str().unwrap();
    for (days, ends) in [(None, "2026-01-03"), (Some(9), "2026-01-03"), (Some(1), "2026-01-02")] {
        let child = make(secret, days).await;
        assert!(child["key"]["expires_at"].as_str().unwrap().starts_with(ends), "{child}");
    }
    let rotate = async |key: &serde_json::Value| {
        let path = format!("{KEYS}/{}/rotate", key["key"]["id"].as_str().unwrap());
        town.call(Method::POST, &path, Some(secret), Value::Null).await
    };
    rotate(&forever).await.refused(409, "conflict");
    rotate(&found).await.expect(200);
}

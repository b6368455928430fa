//! The audit log.

use axum::http::Method;
use gantry_domain::role::Role;
use serde_json::{Value, json};

use super::{PASSWORD, Town};

#[tokio::test]
async fn what_matters_is_written_down_with_who_and_from_where() {
    let town = Town::new().await;
    let (admin, ann) = (town.member(Role::Admin).await, town.member_with_password(Role::Member).await);
    town.sign_in(&ann.email, PASSWORD).await.expect(200);
    town.sign_in(&ann.email, "wrong").await.refused(401, "unauthorized");
    town.installation.advance(10);
    let path = format!("/api/v1/organization/members/{}", ann.user);
    town.call(Method::PATCH, &path, Some(&admin.token), json!({"role": "maintainer"})).await.expect(200);
    let key = json!({"name": "ci", "scopes": ["runs:write"]});
    let key = town.call(Method::POST, "/api/v1/keys", Some(&ann.token), key).await.expect(201).json();
    let secret = key["secret"].as_str().unwrap();
    let run = json!({"image": "busybox", "command": ["true"]});
    let run = town.call(Method::POST, "/api/v1/runs", Some(secret), run).await.expect(202).json();
    let run = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    town.call(Method::POST, &format!("{run}/cancel"), Some(secret), Value::Null).await.expect(202);
    town.call(Method::DELETE, &run, Some(&ann.token), Value::Null).await.expect(204);

    let list = async |query: &str| {
        let path = format!("/api/v1/audit{query}");
        let answer = town.call(Method::GET, &path, Some(&admin.token), Value::Null).await.expect(200);
        assert!(!answer.text().contains(secret) && !answer.text().contains(PASSWORD));
        answer.json()
    };
    // That of the refusal comes after its answer.
    let mut all = list("").await;
    while all["items"].as_array().unwrap().len() < 6 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        all = list("").await;
    }
    let actions: Vec<_> =
        all["items"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        ["run_deleted", "run_cancelled", "key_created", "member_role_changed", "sign_in", "sign_in"]
    );
    let changed = &all["items"][3];
    assert_eq!(changed["actor"], admin.user.to_string());
    assert_eq!(
        (changed["target"].as_str(), changed["address"].as_str()),
        (Some(ann.user.to_string().as_str()), Some("192.0.2.1"))
    );
    assert_eq!(changed["detail"], json!({"from": "member", "to": "maintainer"}));
    assert_eq!(
        (all["items"][4]["outcome"].as_str(), all["items"][5]["outcome"].as_str()),
        (Some("refused"), Some("done"))
    );
    assert_eq!(all["items"][1]["actor"], key["key"]["id"]);

    let count = async |query: &str| list(query).await["items"].as_array().unwrap().len();
    assert_eq!(count("?action=sign_in").await, 2);
    assert_eq!(count(&format!("?actor={}", admin.user)).await, 1);
    assert_eq!(count("?before=2026-01-01T00:00:05Z").await, 2);
    assert_eq!(count("?from=2026-01-01T00:00:05Z").await, 4);
    let first = list("?limit=4").await;
    assert_eq!(count(&format!("?cursor={}", first["next_cursor"].as_str().unwrap())).await, 2);
    for wrong in ["?action=nonsense", "?actor=me", "?from=yesterday", "?cursor=x", "?limit=0", "?who=me"] {
        let answer =
            town.call(Method::GET, &format!("/api/v1/audit{wrong}"), Some(&admin.token), Value::Null).await;
        answer.refused(400, "invalid_parameter");
    }

    let exported =
        town.call(Method::GET, "/api/v1/audit/export", Some(&admin.token), Value::Null).await.expect(200);
    let lines: Vec<Value> = exported.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines.last().unwrap()), (8, &json!({"complete": true})));
    assert_eq!(lines[0]["action"], "audit_exported");
    let (_, stranger) = town.stranger().await;
    let theirs =
        town.call(Method::GET, "/api/v1/audit", Some(&stranger.token), Value::Null).await.expect(200);
    assert_eq!(theirs.json()["items"], json!([]));
}

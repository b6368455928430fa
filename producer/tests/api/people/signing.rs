//! Signing up, in and out.

use axum::http::Method;
use gantry_domain::role::Role;
use serde_json::{Value, json};

use super::{PASSWORD, Town, session};

async fn signed_up(town: &Town, email: &str) -> crate::installation::Answer {
    town.post("/api/v1/auth/signup", json!({"email": email})).await.expect(202);
    let token = town.mailed_token(email).await;
    let body = json!({"token": token, "password": PASSWORD, "organization": "Shop", "name": "Ann", "delivery": "body"});
    town.post("/api/v1/auth/signup/confirm", body).await
}

#[tokio::test]
async fn somebody_signs_up_and_works_in_an_organization_of_his_own() {
    let town = Town::new().await;
    let signed = signed_up(&town, "ann+shop@example.com").await.expect(200).json();
    let token = signed["access_token"].as_str().unwrap();
    assert_eq!(signed["organization"]["role"], "admin");
    let me = town.call(Method::GET, "/api/v1/me", Some(token), Value::Null).await.expect(200).json();
    assert_eq!(me["user"]["email"], "ann+shop@example.com");
    assert_eq!(
        (me["organization"]["name"].as_str(), me["user"]["name"].as_str()),
        (Some("Shop"), Some("Ann"))
    );
    let run = json!({"image": "busybox", "command": ["true"]});
    let run = town.call(Method::POST, "/api/v1/runs", Some(token), run).await.expect(202).json();
    assert_eq!(run["trigger"]["actor"], signed["user"]["id"]);
    // The first organization is another one: what all share is not theirs.
    town.call(Method::GET, "/api/v1/workers", Some(token), Value::Null).await.refused(403, "forbidden");
    town.sign_in("ANN+shop@example.com ", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn signing_up_tells_nobody_who_has_an_account() {
    let town = Town::new().await;
    signed_up(&town, "ann@example.com").await.expect(200);
    let ask = async |email: &str| {
        let answer = town.post("/api/v1/auth/signup", json!({"email": email})).await.expect(202);
        (answer.status, answer.bytes)
    };
    assert_eq!(ask("ann@example.com").await, ask("bob@example.com").await);
    assert!(town.letter("ann@example.com").await.contains("You have one"));
    assert!(town.letter("bob@example.com").await.contains("#token="));
}

#[tokio::test]
async fn a_link_is_for_one_address_and_an_hour() {
    let town = Town::new().await;
    let token = async |email: &str| {
        town.post("/api/v1/auth/signup", json!({"email": email})).await.expect(202);
        town.mailed_token(email).await
    };
    let confirm = async |token: &str, password: &str| {
        let body = json!({"token": token, "password": password, "organization": "Shop", "delivery": "body"});
        town.post("/api/v1/auth/signup/confirm", body).await
    };
    let bobs = token("bob@example.com").await;
    let stolen = bobs.replace("bob@", "ann@");
    assert_ne!(stolen, bobs);
    confirm(&stolen, PASSWORD).await.refused(409, "conflict");
    for (password, says) in
        [("short", "at least 8"), ("password123", "guessed"), ("bob@example.com", "address")]
    {
        let answer = confirm(&bobs, password).await.refused(422, "validation_failed");
        assert!(answer.text().contains(says) && !answer.text().contains(password), "{}", answer.text());
    }
    town.installation.advance(3601);
    assert!(confirm(&bobs, PASSWORD).await.refused(409, "conflict").text().contains("expired"));
    let again = token("bob@example.com").await;
    confirm(&again, PASSWORD).await.expect(200);
    assert!(confirm(&again, PASSWORD).await.refused(409, "conflict").text().contains("sign in"));
}

#[tokio::test]
async fn where_signing_up_is_closed_nobody_is_written_to() {
    let town = Town::with(|config| config.identity.open_sign_up = false).await;
    let answer = town.post("/api/v1/auth/signup", json!({"email": "ann@example.com"})).await;
    assert!(answer.refused(403, "forbidden").text().contains("invitation"));
    let member = town.member(Role::Maintainer).await;
    let body = json!({"name": "Another"});
    town.call(Method::POST, "/api/v1/organizations", Some(&member.token), body.clone())
        .await
        .refused(403, "forbidden");
    let admin = town.member(Role::Admin).await;
    let made =
        town.call(Method::POST, "/api/v1/organizations", Some(&admin.token), body).await.expect(201).json();
    let switch = json!({"organization": made["id"]});
    let switched =
        town.call(Method::POST, "/api/v1/auth/switch", Some(&admin.token), switch).await.expect(200).json();
    assert_eq!(switched["organization"]["name"], "Another");
    let token = switched["access_token"].as_str();
    let me = town.call(Method::GET, "/api/v1/me", token, Value::Null).await.expect(200).json();
    assert_eq!(me["organizations"].as_array().unwrap().len(), 2);
    assert_eq!(town.letters(), 0);
}

#[tokio::test]
async fn browsers_hold_the_refresh_token_where_no_script_reads_it() {
    let town = Town::new().await;
    let ann = town.member_with_password(Role::Member).await;
    let body = json!({"email": ann.email, "password": PASSWORD});
    let signed = town.post("/api/v1/auth/login", body).await.expect(200);
    let cookie = signed.header("set-cookie").to_owned();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert!(pair.starts_with("__Host-gantry_refresh=gantry_rt_"), "{cookie}");
    for attribute in ["Path=/", "HttpOnly", "Secure", "SameSite=Strict", "Max-Age="] {
        assert!(attributes.contains(attribute), "{cookie}");
    }
    assert!(!attributes.contains("Domain"));
    assert_eq!(signed.json()["refresh_token"], Value::Null);
    assert!(!signed.text().contains("gantry_rt_"));

    let with_cookie = async |path: &str| {
        let request = axum::http::Request::post(path)
            .header("cookie", format!("theme=dark; {pair}"))
            .header("content-type", "application/json")
            .body("{}".into())
            .unwrap();
        crate::installation::answer(&town.installation.public, request).await
    };
    let refreshed = with_cookie("/api/v1/auth/refresh").await.expect(200);
    assert!(refreshed.header("set-cookie").starts_with("__Host-gantry_refresh=gantry_rt_"));
    assert_ne!(refreshed.header("set-cookie"), cookie);
    let out = with_cookie("/api/v1/auth/logout").await.expect(204);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    let token = refreshed.json()["access_token"].as_str().unwrap().to_owned();
    town.call(Method::GET, "/api/v1/me", Some(&token), Value::Null).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn without_tls_a_browser_signs_in_on_this_machine_only() {
    let town = Town::with(|config| {
        config.identity.public_url = Some("http://gantry.example.com".parse().unwrap());
    })
    .await;
    let ann = town.member_with_password(Role::Member).await;
    let body = json!({"email": ann.email, "password": PASSWORD});
    let refused = town.post("/api/v1/auth/login", body.clone()).await.refused(422, "validation_failed");
    assert!(refused.text().contains("https"), "{}", refused.text());
    let here = town.from("127.0.0.1", Method::POST, "/api/v1/auth/login", None, body).await.expect(200);
    let cookie = here.header("set-cookie");
    assert!(cookie.starts_with("gantry_refresh=") && !cookie.contains("Secure"), "{cookie}");
}

#[tokio::test]
async fn sessions_are_listed_and_end_one_by_one_or_all() {
    let town = Town::new().await;
    let ann = town.member(Role::Member).await;
    let phone = session(&town.installation, ann.user, Some(town.installation.organization)).await;
    let list = async |token: &str| {
        let answer =
            town.call(Method::GET, "/api/v1/me/sessions", Some(token), Value::Null).await.expect(200);
        answer.json()["items"].as_array().unwrap().clone()
    };
    let sessions = list(&ann.token).await;
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions.iter().filter(|session| session["current"] == true).count(), 1);
    assert_eq!(sessions[0]["agent"], "a test");
    let other = sessions.iter().find(|session| session["current"] == false).unwrap()["id"].as_str().unwrap();
    let path = format!("/api/v1/me/sessions/{other}");
    town.call(Method::DELETE, &path, Some(&ann.token), Value::Null).await.expect(204);
    town.call(Method::GET, "/api/v1/me", Some(&phone.token), Value::Null).await.refused(401, "unauthorized");
    assert_eq!(list(&ann.token).await.len(), 1);
    town.call(Method::DELETE, "/api/v1/me/sessions", Some(&ann.token), Value::Null).await.expect(204);
    town.call(Method::GET, "/api/v1/me", Some(&ann.token), Value::Null).await.refused(401, "unauthorized");
    let refresh = json!({"refresh_token": ann.refresh});
    town.post("/api/v1/auth/refresh", refresh).await.refused(401, "unauthorized");
}

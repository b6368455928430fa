//! Belonging to an organization: inviting, accepting, roles, leaving.

use axum::http::Method;
use futures::future::join_all;
use gantry_domain::role::Role;
use serde_json::{Value, json};

use super::{PASSWORD, Person, Town};
use crate::installation::Answer;

const INVITATIONS: &str = "/api/v1/organization/invitations";

async fn invite(town: &Town, admin: &Person, email: &str, role: &str) -> Answer {
    town.call(Method::POST, INVITATIONS, Some(&admin.token), json!({"email": email, "role": role})).await
}

async fn accept(town: &Town, who: Option<&Person>, token: &str) -> Answer {
    let mut body = json!({"token": token, "delivery": "body"});
    if who.is_none() {
        body["password"] = PASSWORD.into();
        body["name"] = "Bob".into();
    }
    town.call(Method::POST, "/api/v1/invitations/accept", who.map(|who| who.token.as_str()), body).await
}

async fn set_role(town: &Town, admin: &Person, of: impl std::fmt::Display, role: &str) -> Answer {
    let path = format!("/api/v1/organization/members/{of}");
    town.call(Method::PATCH, &path, Some(&admin.token), json!({"role": role})).await
}

#[tokio::test]
async fn somebody_new_comes_in_by_a_letter_once() {
    let town = Town::new().await;
    let admin = town.member(Role::Admin).await;
    let invited = invite(&town, &admin, "Bob@Example.com", "member").await.expect(201);
    assert_eq!(
        (invited.json()["email"].as_str(), invited.json()["status"].as_str()),
        (Some("bob@example.com"), Some("open"))
    );
    let letter = town.letter("bob@example.com").await;
    for part in
        ["https://gantry.example.com/invitation#token=gantry_iv_", "7 days", "text/html", "text/plain"]
    {
        assert!(letter.contains(part), "{part}: {letter}");
    }
    assert!(!invited.text().contains("gantry_iv_"), "only the letter has it");
    let token = town.mailed_token("bob@example.com").await;
    let shown = town.post("/api/v1/invitations/look-up", json!({"token": token})).await.expect(200).json();
    assert_eq!(
        (shown["organization"].as_str(), shown["has_account"].as_bool()),
        (Some("default"), Some(false))
    );
    let came = accept(&town, None, &token).await.expect(200).json();
    assert_eq!(
        (came["organization"]["role"].as_str(), came["user"]["name"].as_str()),
        (Some("member"), Some("Bob"))
    );
    accept(&town, None, &token).await.refused(409, "conflict");
    town.post("/api/v1/invitations/look-up", json!({"token": token})).await.refused(409, "conflict");
    invite(&town, &admin, "bob@example.com", "admin").await.refused(409, "conflict");
    let list = town.call(Method::GET, INVITATIONS, Some(&admin.token), Value::Null).await.expect(200).json();
    assert_eq!(list["items"][0]["status"], "accepted");
    town.sign_in("bob@example.com", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn somebody_with_an_account_accepts_as_himself() {
    let town = Town::new().await;
    let admin = town.member(Role::Admin).await;
    let (home, guest) = town.stranger().await;
    let (_, other) = town.stranger().await;
    invite(&town, &admin, &guest.email, "maintainer").await.expect(201);
    let token = town.mailed_token(&guest.email).await;
    accept(&town, None, &token).await.refused(401, "unauthorized");
    assert!(
        accept(&town, Some(&other), &token).await.refused(409, "conflict").text().contains("another e-mail")
    );
    let came = accept(&town, Some(&guest), &token).await.expect(200).json();
    assert_eq!(came["organization"]["role"], "maintainer");
    let me = town
        .call(Method::GET, "/api/v1/me", came["access_token"].as_str(), Value::Null)
        .await
        .expect(200)
        .json();
    assert_eq!(me["organizations"].as_array().unwrap().len(), 2);
    let leave = format!("/api/v1/me/organizations/{home}");
    town.call(Method::DELETE, &leave, Some(&guest.token), Value::Null).await.refused(409, "conflict");
    let leave = format!("/api/v1/me/organizations/{}", town.installation.organization);
    town.call(Method::DELETE, &leave, Some(&guest.token), Value::Null).await.expect(204);
    let gone =
        town.call(Method::GET, "/api/v1/organization", came["access_token"].as_str(), Value::Null).await;
    gone.refused(403, "forbidden");
}

#[tokio::test]
async fn a_letter_can_be_sent_again_or_called_back() {
    let town = Town::new().await;
    let admin = town.member(Role::Admin).await;
    let first = invite(&town, &admin, "bob@example.com", "viewer").await.expect(201).json();
    let old = town.mailed_token("bob@example.com").await;
    let path = format!("{INVITATIONS}/{}", first["id"].as_str().unwrap());
    town.call(Method::POST, &format!("{path}/resend"), Some(&admin.token), Value::Null).await.expect(200);
    let new = town.mailed_token("bob@example.com").await;
    accept(&town, None, &old).await.refused(409, "conflict");
    // Asked for again with another role it is the same invitation.
    let again = invite(&town, &admin, "bob@example.com", "member").await.expect(201).json();
    assert_eq!((again["id"].as_str(), again["role"].as_str()), (first["id"].as_str(), Some("member")));
    accept(&town, None, &new).await.refused(409, "conflict");
    let newest = town.mailed_token("bob@example.com").await;
    town.call(Method::DELETE, &path, Some(&admin.token), Value::Null).await.expect(204);
    assert!(accept(&town, None, &newest).await.refused(409, "conflict").text().contains("revoked"));

    invite(&town, &admin, "eve@example.com", "viewer").await.expect(201);
    let late = town.mailed_token("eve@example.com").await;
    town.installation.advance(7 * 24 * 3600);
    assert!(accept(&town, None, &late).await.refused(409, "conflict").text().contains("expired"));
    for wrong in ["", "gantry_iv_", &newest.replace("iv", "pr"), &format!("gantry_iv_{}", "0".repeat(64))] {
        accept(&town, None, wrong).await.refused(409, "conflict");
    }
}

#[tokio::test]
async fn of_many_who_accept_at_once_one_account_is_made() {
    let town = Town::new().await;
    let admin = town.member(Role::Admin).await;
    invite(&town, &admin, "bob@example.com", "member").await.expect(201);
    let token = town.mailed_token("bob@example.com").await;
    let answers = join_all((0..8).map(|_| accept(&town, None, &token))).await;
    let came = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(came, 1, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    let organization =
        town.installation.stores.organizations.get(town.installation.organization).await.unwrap();
    assert_eq!(organization.unwrap().members().len(), 3);
}

#[tokio::test]
async fn there_is_always_an_admin() {
    let town = Town::new().await;
    let (id, admin) = town.stranger().await;
    assert!(
        set_role(&town, &admin, admin.user, "member")
            .await
            .refused(409, "conflict")
            .text()
            .contains("last admin")
    );
    let own = format!("/api/v1/organization/members/{}", admin.user);
    town.call(Method::DELETE, &own, Some(&admin.token), Value::Null).await.refused(409, "conflict");
    invite(&town, &admin, "bob@example.com", "admin").await.expect(201);
    let token = town.mailed_token("bob@example.com").await;
    let bob = accept(&town, None, &token).await.expect(200).json();
    let bob = Person {
        user: bob["user"]["id"].as_str().unwrap().parse().unwrap(),
        token: bob["access_token"].as_str().unwrap().to_owned(),
        ..admin.clone()
    };
    // Each takes it from the other at the same moment: one of them is late.
    let both = tokio::join!(
        set_role(&town, &admin, bob.user, "viewer"),
        set_role(&town, &bob, admin.user, "viewer")
    );
    let organization = town.installation.stores.organizations.get(id).await.unwrap().unwrap();
    assert_eq!(organization.admins().count(), 1, "{} {}", both.0.status, both.1.status);
    let path = "/api/v1/organization/members/usr_nonsense";
    town.call(Method::DELETE, path, Some(&admin.token), Value::Null).await;
}

#[tokio::test]
async fn members_are_listed_page_by_page() {
    let town = Town::new().await;
    let admin = town.member(Role::Admin).await;
    for role in [Role::Viewer, Role::Member, Role::Maintainer] {
        town.member(role).await;
    }
    let mut seen = Vec::new();
    let mut path = "/api/v1/organization/members?limit=2".to_owned();
    loop {
        let page = town.call(Method::GET, &path, Some(&admin.token), Value::Null).await.expect(200).json();
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["role"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/organization/members?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["maintainer", "member", "viewer", "admin", "admin"]);
}

//! Every documented route against every kind of caller.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use gantry_domain::id::{InvitationId, KeyId, OrganizationId, ProjectId, RunId, SessionId, UserId, WorkerId};
use gantry_domain::identity::invitation::Invite;
use gantry_domain::identity::{ApiKey, Invitation, PasswordHash};
use gantry_domain::permission::{Permission, Permissions, Scope, of_key};
use gantry_domain::project::Project;
use gantry_domain::role::Role;
use gantry_producer::access::{Needs, TABLE};
use gantry_producer::services::credentials;
use tower::ServiceExt as _;

use super::{Person, Town, session, somebody};
use crate::installation::{answer, spec};

/// Ids of things that are there, and of things that never were.
struct Ids {
    run: String,
    worker: String,
    session: String,
    organization: String,
    member: String,
    invitation: String,
    key: String,
    project: String,
}

impl Ids {
    fn missing() -> Self {
        Self {
            run: RunId::new().to_string(),
            worker: WorkerId::new().to_string(),
            session: SessionId::new().to_string(),
            organization: OrganizationId::new().to_string(),
            member: UserId::new().to_string(),
            invitation: InvitationId::new().to_string(),
            key: KeyId::new().to_string(),
            project: ProjectId::new().to_string(),
        }
    }

    fn fill(&self, path: &str) -> String {
        let id = match path {
            path if !path.contains('{') => return path.to_owned(),
            path if path.starts_with("/api/v1/runs/{id}") => &self.run,
            path if path.starts_with("/api/v1/workers/{id}") => &self.worker,
            path if path.starts_with("/api/v1/me/sessions/{id}") => &self.session,
            path if path.starts_with("/api/v1/me/organizations/{id}") => &self.organization,
            path if path.starts_with("/api/v1/organization/members/{id}") => &self.member,
            path if path.starts_with("/api/v1/organization/invitations/{id}") => &self.invitation,
            path if path.starts_with("/api/v1/keys/{id}") => &self.key,
            path if path.starts_with("/api/v1/projects/{project}") => &self.project,
            path => panic!("{path}: whose ids are these?"),
        };
        path.replace("{id}", id)
            .replace("{project}", id)
            .replace("{path}", "reports/a.txt")
            .replace("{name}", "TOKEN")
            .replace("{registry}", "registry.example")
    }
}

fn request(method: &Method, path: &str, token: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("x-request-id", "the-same");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = match *method {
        Method::GET | Method::DELETE => Body::empty(),
        _ => {
            request = request.header("content-type", "application/json");
            Body::from("{}")
        }
    };
    request.body(body).unwrap()
}

impl Town {
    /// The head of the answer is enough: some never end.
    async fn status(&self, method: &Method, path: &str, token: Option<&str>) -> StatusCode {
        self.installation.public.clone().oneshot(request(method, path, token)).await.unwrap().status()
    }

    async fn key(&self, owner: UserId, scopes: &[Scope], change: impl FnOnce(ApiKey) -> ApiKey) -> String {
        let secret = credentials::new_api_key();
        let (hash, now) = (credentials::hash(&secret), self.installation.now());
        let scopes = scopes.iter().copied();
        let key = ApiKey::new(self.installation.organization, owner, "k", scopes, hash, String::new(), now);
        self.installation.stores.keys.add(&change(key)).await.unwrap();
        secret
    }
}

/// Whether these permissions open a route to somebody of the organization that operates the installation.
fn opens(needs: Needs, permissions: Permissions) -> bool {
    match needs {
        Needs::Nothing | Needs::Credential => true,
        Needs::Permission(permission) => permissions.contains(permission),
    }
}

#[tokio::test]
async fn each_role_reaches_what_its_permissions_open() {
    let town = Town::new().await;
    let ids = Ids::missing();
    let (mut open, mut closed) = (0, 0);
    for role in Role::ALL {
        let person = town.member(role).await;
        for (method, path, needs) in TABLE.iter().filter(|(.., needs)| *needs != Needs::Nothing) {
            // Some of it ends every session of whoever asks.
            let fresh = session(&town.installation, person.user, Some(town.installation.organization)).await;
            let status = town.status(method, &ids.fill(path), Some(&fresh.token)).await;
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{role}: {method} {path}");
            assert!(!status.is_server_error(), "{role}: {method} {path}: {status}");
            let opens = opens(*needs, role.permissions());
            assert_eq!(status != StatusCode::FORBIDDEN, opens, "{role}: {method} {path}: {status}");
            *(if opens { &mut open } else { &mut closed }) += 1;
        }
    }
    assert!(open > 100 && closed > 30, "{open} and {closed}");
}

#[tokio::test]
async fn a_key_reaches_what_its_scopes_open() {
    let town = Town::new().await;
    let ids = Ids::missing();
    let owner = town.member(Role::Admin).await.user;
    for scope in Scope::ALL {
        let key = town.key(owner, &[scope], |key| key).await;
        let permissions = of_key(&[scope].into(), Role::Admin);
        for (method, path, needs) in TABLE.iter().filter(|(.., needs)| *needs != Needs::Nothing) {
            let status = town.status(method, &ids.fill(path), Some(&key)).await;
            let opens = opens(*needs, permissions);
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{scope}: {method} {path}");
            assert_eq!(status != StatusCode::FORBIDDEN, opens, "{scope}: {method} {path}: {status}");
        }
    }
}

/// What would have been good credentials.
async fn spoilt(town: &Town) -> Vec<(&'static str, String)> {
    let admin = town.member(Role::Admin).await.user;
    let now = town.installation.now();
    let revoked = town.key(admin, &[Scope::Admin], |key| key.revoke(now)).await;
    let expired = town.key(admin, &[Scope::Admin], |key| ApiKey { expires_at: Some(now), ..key }).await;
    let disabled = town.member(Role::Admin).await;
    let key_of_disabled = town.key(disabled.user, &[Scope::Admin], |key| key).await;
    let users = &town.installation.stores.users;
    let user = users.get(disabled.user).await.unwrap().unwrap();
    users.update(&user.disable(now)).await.unwrap();
    let gone = somebody(&town.installation, PasswordHash::from_phc("none")).await.id;
    let key_of_gone = town.key(gone, &[Scope::Admin], |key| key).await;
    let signed_out = town.member(Role::Admin).await;
    let body = serde_json::json!({"refresh_token": signed_out.refresh});
    town.post("/api/v1/auth/logout", body).await.expect(204);
    let elsewhere = Town::new().await.member(Role::Admin).await;
    vec![
        ("a revoked key", revoked),
        ("an expired key", expired),
        ("a key of a disabled user", key_of_disabled),
        ("a disabled user", disabled.token),
        ("a key of somebody who does not belong", key_of_gone),
        ("a session that ended", signed_out.token),
        ("a token of another installation", elsewhere.token),
        ("a refresh token", town.member(Role::Admin).await.refresh),
        ("no key", credentials::new_api_key()),
        ("nonsense", "eyJhbGciOiJub25lIn0.e30.".to_owned()),
    ]
}

#[tokio::test]
async fn without_a_good_credential_only_what_is_open_is_open() {
    let town = Town::new().await;
    let ids = Ids::missing();
    let expired = town.member(Role::Admin).await;
    town.installation.clock.advance(Duration::from_secs(15 * 60 + 6));
    let mut spoilt = spoilt(&town).await;
    spoilt.push(("an expired token", expired.token));
    for (method, path, needs) in TABLE {
        let path = ids.fill(path);
        if *needs == Needs::Nothing {
            // A refresh token of nobody is refused as such.
            let refused =
                if path == "/api/v1/auth/refresh" { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
            let status = town.status(method, &path, None).await;
            assert!(status == refused || status != StatusCode::UNAUTHORIZED, "{method} {path}: {status}");
            continue;
        }
        assert_eq!(
            town.status(method, &path, None).await,
            StatusCode::UNAUTHORIZED,
            "anonymous: {method} {path}"
        );
        for (who, token) in &spoilt {
            let status = town.status(method, &path, Some(token)).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{who}: {method} {path}");
        }
    }
}

async fn ours(town: &Town, admin: &Person) -> Ids {
    let installation = &town.installation;
    let run = installation.accept(spec()).await.to_string();
    let invite = Invite {
        organization: installation.organization,
        email: "guest@example.com".parse().unwrap(),
        role: Role::Viewer,
        invited_by: admin.user,
    };
    let invitation = Invitation::new(invite, [7; 32], installation.now());
    assert!(installation.stores.invitations.add(&invitation).await.unwrap());
    let key = installation.another_key(&credentials::new_api_key());
    installation.stores.keys.add(&key).await.unwrap();
    let project = Project::new(installation.organization, "shop".into(), installation.now());
    assert!(installation.stores.projects.add(&project).await.unwrap());
    let sessions = installation.stores.sessions.of_user(admin.user, 1).await.unwrap();
    Ids {
        run,
        worker: WorkerId::new().to_string(),
        session: sessions[0].id.to_string(),
        organization: installation.organization.to_string(),
        member: admin.user.to_string(),
        invitation: invitation.id.to_string(),
        key: key.id.to_string(),
        project: project.id.to_string(),
    }
}

#[tokio::test]
async fn what_is_somebody_elses_looks_like_what_never_was() {
    let town = Town::new().await;
    let admin = town.member(Role::Admin).await;
    let (ours, missing) = (ours(&town, &admin).await, Ids::missing());
    let (_, stranger) = town.stranger().await;
    let mut walked = BTreeSet::new();
    for (method, path, needs) in TABLE.iter().filter(|(_, path, _)| path.contains('{')) {
        let seen = async |ids: &Ids| {
            let answer =
                answer(&town.installation.public, request(method, &ids.fill(path), Some(&stranger.token)))
                    .await;
            (answer.status, answer.headers, answer.bytes)
        };
        let never = seen(&missing).await;
        let of_installation =
            matches!(needs, Needs::Permission(permission) if permission.is_of_installation());
        let bodied = [Method::PATCH, Method::PUT].contains(method);
        match (of_installation, bodied) {
            (true, _) => assert_eq!(never.0, StatusCode::FORBIDDEN, "{method} {path}"),
            // The body is looked at before the thing.
            (false, true) => assert!(never.0.is_client_error(), "{method} {path}"),
            (false, false) => assert_eq!(never.0, StatusCode::NOT_FOUND, "{method} {path}"),
        }
        assert_eq!(seen(&ours).await, never, "{method} {path}");
        walked.insert(*path);
    }
    assert!(walked.len() > 15, "{walked:?}");
    let role = serde_json::json!({"role": "viewer"});
    for id in [&ours.member, &missing.member] {
        let path = format!("/api/v1/organization/members/{id}");
        town.call(Method::PATCH, &path, Some(&stranger.token), role.clone()).await.refused(404, "not_found");
    }
    // Nothing of it happened.
    let path = format!("/api/v1/runs/{}", ours.run);
    town.call(Method::GET, &path, Some(&admin.token), serde_json::Value::Null).await.expect(200);
    let invitation = ours.invitation.parse().unwrap();
    let invitations = &town.installation.stores.invitations;
    assert!(invitations.get(town.installation.organization, invitation).await.unwrap().unwrap().is_open());
}

#[tokio::test]
async fn what_all_share_is_operated_by_the_first_organization() {
    let town = Town::new().await;
    let (_, stranger) = town.stranger().await;
    for (method, path, needs) in TABLE {
        let Needs::Permission(permission) = needs else { continue };
        let path = Ids::missing().fill(path);
        let fresh = session(&town.installation, stranger.user, None).await;
        assert_eq!(
            town.status(method, &path, Some(&fresh.token)).await == StatusCode::FORBIDDEN,
            *permission != Permission::Account,
            "who belongs to nothing: {method} {path}"
        );
    }
}

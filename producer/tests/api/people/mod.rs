//! People: how they come in, what they may do, and how what they may is taken away.

mod audited;
mod belonging;
mod keys;
mod matrix;
mod passwords;
mod refreshing;
mod signing;
mod taking_away;

use std::path::Path;

use axum::body::Body;
use axum::http::{Method, Request};
use gantry_domain::id::{OrganizationId, UserId};
use gantry_domain::identity::{Organization, PasswordHash, User};
use gantry_domain::role::Role;
use gantry_domain::time::Clock as _;
use gantry_producer::config::ProducerConfig;
use gantry_producer::config::identity::MailConfig;
use gantry_producer::services::credentials;
use gantry_producer::services::credentials::key::{SigningKey, SigningKeys};
use gantry_producer::services::identity::sessions;
use gantry_service_kit::shutdown::TaskGroup;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::installation::{Answer, Installation, Wish, answer};

pub const PASSWORD: &str = "four random words here";

/// An installation that people can come into: mail goes into a directory.
pub struct Town {
    pub installation: Installation,
    mail: TempDir,
    _tasks: TaskGroup,
}

/// Somebody with a session in an organization.
#[derive(Clone)]
pub struct Person {
    pub user: UserId,
    pub email: String,
    pub token: String,
    pub refresh: String,
}

impl Town {
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(change: impl FnOnce(&mut ProducerConfig)) -> Self {
        let mail = tempfile::tempdir().unwrap();
        let mut config = ProducerConfig::default();
        config.http.trusted_proxies = 1;
        config.identity.open_sign_up = true;
        config.identity.public_url = Some("https://gantry.example.com".parse().unwrap());
        let own = SigningKey::random("town".parse().unwrap());
        config.identity.signing_keys = Some(SigningKeys::new(own, None).unwrap());
        let from = "Gantry <gantry@example.com>".parse().unwrap();
        config.identity.mail = MailConfig::Directory(mail.path().to_owned(), from);
        change(&mut config);
        let installation = Installation::with(Wish { config, ..Wish::default() }).await;
        let tasks = TaskGroup::new();
        installation.producer.spawn_reconcilers(&tasks);
        Self { installation, mail, _tasks: tasks }
    }

    /// A call from an address, with a credential if there is one.
    pub async fn from(
        &self,
        address: &str,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Value,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("x-forwarded-for", address);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match body {
            Value::Null => Body::empty(),
            body => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
        };
        answer(&self.installation.public, request.body(body).unwrap()).await
    }

    pub async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Value) -> Answer {
        self.from("192.0.2.1", method, path, token, body).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, None, body).await
    }

    pub async fn sign_in(&self, email: &str, password: &str) -> Answer {
        self.post("/api/v1/auth/login", json!({"email": email, "password": password, "delivery": "body"}))
            .await
    }

    /// A member of the first organization.
    pub async fn member(&self, role: Role) -> Person {
        person(&self.installation, self.installation.organization, role, PasswordHash::from_phc("none")).await
    }

    /// One who can sign in with [`PASSWORD`].
    pub async fn member_with_password(&self, role: Role) -> Person {
        let hash = credentials::hash_password(PASSWORD).unwrap();
        person(&self.installation, self.installation.organization, role, PasswordHash::from_phc(hash)).await
    }

    /// An admin of another organization.
    pub async fn stranger(&self) -> (OrganizationId, Person) {
        let user = somebody(&self.installation, PasswordHash::from_phc("none")).await;
        let id = OrganizationId::new();
        let other = Organization::found(id, "another".to_owned(), user.id, self.installation.clock.now());
        self.installation.stores.organizations.found(&other).await.unwrap();
        (id, session(&self.installation, user.id, Some(id)).await)
    }

    /// The newest letter to this address, as soon as it is there.
    pub async fn letter(&self, to: &str) -> String {
        for _ in 0..1000 {
            if let Some(letter) = newest(self.mail.path(), to) {
                return letter;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("no letter to {to}");
    }

    /// The token in the newest letter to this address; the letter is taken away.
    pub async fn mailed_token(&self, to: &str) -> String {
        let letter = self.letter(to).await;
        let token = letter.split("#token=").nth(1).expect("a link").split_whitespace().next().unwrap();
        for entry in std::fs::read_dir(self.mail.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        token.replace("%3A", ":").replace("%40", "@").replace("%2B", "+")
    }

    pub fn letters(&self) -> usize {
        std::fs::read_dir(self.mail.path()).unwrap().count()
    }
}

/// The text of the newest letter, without what mail wraps around it.
fn newest(directory: &Path, to: &str) -> Option<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    names.sort();
    names.iter().rev().find_map(|path| {
        let text = std::fs::read_to_string(path).unwrap().replace("=\r\n", "").replace("=3D", "=");
        text.contains(&format!("To: {to}")).then_some(text)
    })
}

pub async fn somebody(installation: &Installation, password: PasswordHash) -> User {
    let id = UserId::new();
    let email = format!("{}@example.com", id.to_string().to_lowercase());
    let user = User::new(id, email.parse().unwrap(), String::new(), password, installation.clock.now());
    assert!(installation.stores.users.add(&user).await.unwrap());
    user
}

async fn person(
    installation: &Installation,
    to: OrganizationId,
    role: Role,
    password: PasswordHash,
) -> Person {
    let user = somebody(installation, password).await;
    let organizations = &installation.stores.organizations;
    let known = organizations.get(to).await.unwrap().unwrap();
    let joined = known.join(user.id, role, installation.clock.now()).unwrap();
    assert_eq!(organizations.update(&joined).await.unwrap(), gantry_store::Changed::Updated);
    session(installation, user.id, Some(to)).await
}

/// Another session of somebody.
pub async fn session(installation: &Installation, user: UserId, to: Option<OrganizationId>) -> Person {
    let app = installation.app();
    let user = installation.stores.users.get(user).await.unwrap().unwrap();
    let organization = match to {
        None => None,
        to => sessions::organization(app, &user, to).await.unwrap(),
    };
    let (id, email) = (user.id, user.email.to_string());
    let signed = sessions::begin(app, user, organization, sessions::client(Some("a test"))).await.unwrap();
    Person {
        user: id,
        email,
        token: signed.access.expose().to_owned(),
        refresh: signed.refresh.unwrap().expose(),
    }
}

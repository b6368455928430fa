//! Everything that the traits of people, organizations and credentials can be asked.

use gantry_domain::id::{AuditId, InvitationId, KeyId, OrganizationId, ProjectId, SessionId, UserId};
use gantry_domain::identity::invitation::Invite;
use gantry_domain::identity::lockout::Subject;
use gantry_domain::identity::session::{Client, EndedWhy, SessionLife};
use gantry_domain::identity::{
    ApiKey, AuditAction, AuditEntry, Invitation, Organization, Outcome, PasswordHash, PasswordReset, Session,
    User,
};
use gantry_domain::project::{Project, RegistryCredential, Retention, Sealed};
use gantry_domain::role::Role;
use gantry_domain::run::Actor;

use crate::contract::fixtures::at;
use crate::{AuditFilter, Stores};

/// Few: of a collection with some fifty writes PostgreSQL, behind a stand-in, takes stock, and then rightly reads a small one
/// as a whole.
const SOME: u8 = 8;

pub(super) async fn workout(stores: &Stores) {
    let organization = people(stores).await;
    credentials(stores, organization).await;
    mailed(stores, organization).await;
    sign_ins(stores).await;
    audit(stores, organization).await;
    projects(stores, organization).await;
}

fn user(number: u8) -> User {
    let email = format!("user{number}@example.com").parse().unwrap();
    User::new(UserId::new(), email, String::new(), PasswordHash::from_phc("x"), at(1))
}

async fn people(stores: &Stores) -> OrganizationId {
    let mut last = None;
    for number in 0..SOME {
        let user = user(number);
        assert!(stores.users.add(&user).await.unwrap());
        let organization = Organization::found(OrganizationId::new(), "acme".into(), user.id, at(1));
        stores.organizations.found(&organization).await.unwrap();
        last = Some((user, organization));
    }
    let (user, organization) = last.unwrap();
    // Twice: the second finds somebody who was faster.
    for _ in 0..2 {
        stores.users.update(&user.rename("x".into())).await.unwrap();
        stores.organizations.update(&organization.rename("x".into())).await.unwrap();
    }
    stores.users.get(user.id).await.unwrap();
    stores.users.by_email(&user.email).await.unwrap();
    stores.users.several(&[user.id, UserId::new()]).await.unwrap();
    stores.organizations.role(organization.id, user.id).await.unwrap();
    stores.organizations.of_user(user.id).await.unwrap();
    organization.id
}

async fn credentials(stores: &Stores, organization: OrganizationId) {
    let owner = UserId::new();
    for number in 0..SOME {
        let prefix = String::new();
        let key = ApiKey::new(organization, owner, "x", [], [100 + number; 32], prefix, at(1));
        stores.keys.add(&key).await.unwrap();
        stores.keys.used(key.id, at(5)).await.unwrap();
        stores.keys.get(organization, key.id).await.unwrap();
    }
    stores.keys.look_up(&[100; 32]).await.unwrap();
    for owner in [None, Some(owner)] {
        for after in [None, Some(KeyId::new())] {
            stores.keys.list(organization, owner, after, 5).await.unwrap();
        }
    }
    let user = user(0);
    for number in 0..SOME {
        let (client, life) = (Client::default(), SessionLife::default());
        let session = Session::begin(&user, None, [number; 32], [200; 32], client, life, at(1));
        stores.sessions.add(&session).await.unwrap();
        stores.sessions.update(&session.end(EndedWhy::Revoked, at(2))).await.unwrap();
    }
    stores.sessions.by_family(&[1; 32]).await.unwrap();
    stores.sessions.look_up(SessionId::new(), user.id, organization).await.unwrap();
    stores.sessions.of_user(user.id, 5).await.unwrap();
    stores.sessions.forget(at(1)).await.unwrap();
}

async fn mailed(stores: &Stores, organization: OrganizationId) {
    for number in 0..SOME {
        let email = user(number).email;
        let invite = Invite { organization, email, role: Role::Viewer, invited_by: UserId::new() };
        let invitation = Invitation::new(invite, [number; 32], at(1));
        assert!(stores.invitations.add(&invitation).await.unwrap());
        if number % 2 == 0 {
            stores.invitations.update(&invitation.revoke(at(2)).unwrap()).await.unwrap();
        }
        stores.resets.add(&PasswordReset::new(UserId::new(), [number; 32], at(1))).await.unwrap();
    }
    stores.invitations.by_token(&[1; 32]).await.unwrap();
    stores.invitations.open(organization, &user(1).email).await.unwrap();
    stores.invitations.get(organization, InvitationId::new()).await.unwrap();
    for after in [None, Some(InvitationId::new())] {
        stores.invitations.list(organization, after, 5).await.unwrap();
    }
    let reset = stores.resets.by_token(&[1; 32]).await.unwrap().unwrap();
    stores.resets.update(&reset.use_up(at(2)).unwrap()).await.unwrap();
    stores.resets.forget(at(1)).await.unwrap();
}

async fn sign_ins(stores: &Stores) {
    for number in 0..SOME {
        let subject = Subject::Account(user(number).email);
        for _ in 0..2 {
            stores.sign_ins.attempt(&subject, at(1)).await.unwrap();
        }
        let none = gantry_domain::identity::lockout::Failures { count: 0, last_at: at(0) };
        stores.sign_ins.take_back(&subject, none, None).await.unwrap();
        stores.sign_ins.failures(&subject).await.unwrap();
        if number % 2 == 0 {
            stores.sign_ins.forgive(&subject).await.unwrap();
        }
    }
    stores.sign_ins.forget(at(1)).await.unwrap();
}

async fn audit(stores: &Stores, organization: OrganizationId) {
    for _ in 0..SOME {
        let entry = AuditEntry::new(AuditAction::SignIn, Outcome::Done, at(1));
        stores.audit.append(&entry.organization(organization).by(Actor::System)).await.unwrap();
    }
    for actor in [None, Some(Actor::System)] {
        for action in [None, Some(AuditAction::SignIn)] {
            let filter = AuditFilter { actor, action, ..AuditFilter::default() };
            stores.audit.list(Some(organization), &filter, Some(AuditId::at(at(9))), 5).await.unwrap();
        }
    }
}

async fn projects(stores: &Stores, organization: OrganizationId) {
    let credential = || RegistryCredential {
        username: "x".into(),
        password: Sealed { sealed: "x".into(), updated_at: at(1), updated_by: Actor::System },
    };
    for number in 0..SOME {
        let project = Project::new(organization, format!("p{number}"), at(1));
        assert!(stores.projects.add(&project).await.unwrap());
        let next = project.next(at(2), |project| {
            project.registries.insert("registry.example".into(), credential());
            project.retention = Retention { days: Some(1), runs: None };
        });
        stores.projects.update(&next).await.unwrap();
        stores.projects.get(organization, project.id).await.unwrap();
    }
    stores.projects.by_name(organization, "p1").await.unwrap();
    for after in [None, Some(ProjectId::new())] {
        stores.projects.list(organization, after, 5).await.unwrap();
        stores.projects.with_secrets(after, 5).await.unwrap();
        stores.projects.with_retention(after, 5).await.unwrap();
    }
    stores.projects.delete(organization, ProjectId::new()).await.unwrap();
}

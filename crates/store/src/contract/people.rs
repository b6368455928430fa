//! Accounts and organizations: who is unique, who decides, who is the last admin.

use gantry_domain::id::{OrganizationId, UserId};
use gantry_domain::identity::organization::MembershipError;
use gantry_domain::identity::{Organization, OrganizationLimits, PasswordHash, User};
use gantry_domain::role::Role;

use super::fixtures::*;
use crate::{Changed, Stores};

pub fn user(email: &str) -> User {
    let password = PasswordHash::from_phc("$argon2id$…");
    User::new(UserId::new(), email.parse().unwrap(), "Ann".into(), password, at(1))
}

pub async fn added(stores: &Stores, email: &str) -> User {
    let user = user(email);
    assert!(stores.users.add(&user).await.unwrap());
    user
}

pub async fn founded(stores: &Stores, admin: UserId) -> Organization {
    let organization = Organization::found(OrganizationId::new(), "acme".into(), admin, at(1));
    stores.organizations.found(&organization).await.unwrap();
    organization
}

/// Stores the successor, which must be the next.
pub async fn put(stores: &Stores, next: Organization) -> Organization {
    assert_eq!(stores.organizations.update(&next).await.unwrap(), Changed::Updated);
    next
}

pub async fn an_account_is_stored_as_it_is(stores: Stores) {
    let ann = added(&stores, "Ann@Example.com").await;
    assert_eq!(stores.users.get(ann.id).await.unwrap(), Some(ann.clone()));
    let email = "ann@example.COM".parse().unwrap();
    assert_eq!(stores.users.by_email(&email).await.unwrap(), Some(ann.clone()));
    let disabled = ann.set_password(PasswordHash::from_phc("$2"), at(5)).disable(at(6));
    let changed = User { version: 2, ..disabled };
    assert_eq!(stores.users.update(&changed).await.unwrap(), Changed::Updated);
    assert_eq!(stores.users.get(ann.id).await.unwrap(), Some(changed.clone()));
    let bob = added(&stores, "bob@example.com").await;
    let mut several = stores.users.several(&[bob.id, UserId::new(), ann.id]).await.unwrap();
    several.sort_by_key(|user| user.id);
    assert_eq!(several, [changed, bob]);
    assert_eq!(stores.users.several(&[]).await.unwrap(), []);
    assert_eq!(stores.users.get(UserId::new()).await.unwrap(), None);
    assert_eq!(stores.users.by_email(&"nobody@example.com".parse().unwrap()).await.unwrap(), None);
}

pub async fn of_many_sign_ups_with_one_address_one_is_stored(stores: Stores) {
    let tries = (0..20).map(|i| {
        let stores = stores.clone();
        tokio::spawn(async move {
            let user = user(if i % 2 == 0 { "ann@example.com" } else { "ANN@example.com" });
            stores.users.add(&user).await.unwrap().then_some(user)
        })
    });
    let mut stored = Vec::new();
    for answer in tries.collect::<Vec<_>>() {
        stored.extend(answer.await.unwrap());
    }
    assert_eq!(stored.len(), 1);
    let found = stores.users.by_email(&"ann@example.com".parse().unwrap()).await.unwrap();
    assert_eq!(found.as_ref(), stored.first());
}

pub async fn a_change_of_an_account_needs_the_version_before(stores: Stores) {
    let ann = added(&stores, "ann@example.com").await;
    let renames = (0..8).map(|i| {
        let (stores, next) = (stores.clone(), ann.rename(format!("name {i}")));
        tokio::spawn(async move { (stores.users.update(&next).await.unwrap(), next) })
    });
    let (mut updated, mut conflicts) = (Vec::new(), Vec::new());
    for answer in renames.collect::<Vec<_>>() {
        match answer.await.unwrap() {
            (Changed::Updated, next) => updated.push(next),
            (Changed::Conflict(current), _) => conflicts.push(current),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((updated.len(), conflicts.len()), (1, 7));
    assert!(conflicts.iter().all(|current| *current == updated[0]));
    assert_eq!(
        stores.users.update(&user("x@example.com").rename("x".into())).await.unwrap(),
        Changed::NotFound
    );
}

pub async fn an_address_of_somebody_else_is_taken(stores: Stores) {
    let ann = added(&stores, "ann@example.com").await;
    let bob = added(&stores, "bob@example.com").await;
    let moved = bob.move_to("ann@example.com".parse().unwrap());
    assert_eq!(stores.users.update(&moved).await.unwrap(), Changed::Taken);
    assert_eq!(stores.users.get(bob.id).await.unwrap(), Some(bob.clone()));
    let moved = ann.move_to("ann@example.org".parse().unwrap());
    assert_eq!(stores.users.update(&moved).await.unwrap(), Changed::Updated);
    let moved = bob.move_to("ann@example.com".parse().unwrap());
    assert_eq!(stores.users.update(&moved).await.unwrap(), Changed::Updated, "it is free now");
    assert_eq!(stores.users.by_email(&"bob@example.com".parse().unwrap()).await.unwrap(), None);
}

pub async fn an_organization_is_stored_with_its_members(stores: Stores) {
    let (ann, bob) = (UserId::new(), UserId::new());
    let organization = founded(&stores, ann).await;
    stores.organizations.found(&organization).await.unwrap();
    let limits = OrganizationLimits {
        concurrent_runs: Some(3),
        artifact_bytes: Some(1 << 40),
        ..OrganizationLimits::default()
    };
    let next = put(&stores, organization.join(bob, Role::Viewer, at(9)).unwrap()).await;
    let next = put(&stores, next.limit(limits)).await;
    let next = put(&stores, next.rename("Acme & Söhne".into())).await;
    assert_eq!(stores.organizations.get(organization.id).await.unwrap(), Some(next.clone()));
    assert_eq!(stores.auth.first_organization().await.unwrap(), Some(next));
    assert_eq!(stores.organizations.get(OrganizationId::new()).await.unwrap(), None);
    let missing = Organization::found(OrganizationId::new(), "x".into(), ann, at(1)).rename("y".into());
    assert_eq!(stores.organizations.update(&missing).await.unwrap(), Changed::NotFound);
}

pub async fn a_role_is_what_it_is_now(stores: Stores) {
    let (ann, bob) = (UserId::new(), UserId::new());
    let organization = founded(&stores, ann).await;
    let other = founded(&stores, bob).await;
    let role = async |organization: &Organization, user| {
        stores.organizations.role(organization.id, user).await.unwrap()
    };
    assert_eq!(role(&organization, ann).await, Some(Role::Admin));
    assert_eq!(role(&organization, bob).await, None);
    assert_eq!(role(&other, bob).await, Some(Role::Admin));
    let next = put(&stores, organization.join(bob, Role::Viewer, at(2)).unwrap()).await;
    assert_eq!(role(&organization, bob).await, Some(Role::Viewer));
    let next = put(&stores, next.change_role(bob, Role::Maintainer).unwrap()).await;
    assert_eq!(role(&organization, bob).await, Some(Role::Maintainer));
    put(&stores, next.remove(bob).unwrap()).await;
    assert_eq!(role(&organization, bob).await, None);
    assert_eq!(stores.organizations.role(OrganizationId::new(), ann).await.unwrap(), None);
}

pub async fn a_person_belongs_to_several_organizations(stores: Stores) {
    let (ann, bob) = (UserId::new(), UserId::new());
    let (first, second) = (founded(&stores, ann).await, founded(&stores, bob).await);
    founded(&stores, UserId::new()).await;
    let second = put(&stores, second.join(ann, Role::Member, at(2)).unwrap()).await;
    let of = async |user| stores.organizations.of_user(user).await.unwrap();
    assert_eq!(of(ann).await, [first.clone(), second.clone()]);
    assert_eq!(of(bob).await, std::slice::from_ref(&second));
    assert_eq!(of(UserId::new()).await, []);
    put(&stores, second.remove(ann).unwrap()).await;
    assert_eq!(of(ann).await, [first]);
}

/// Everybody reads the same organization and takes the admin's rights from another admin, at the same moment; whoever is
/// late decides again.
pub async fn admins_who_demote_each_other_leave_one(stores: Stores) {
    for round in 0..5 {
        let admins: Vec<_> = (0..6).map(|_| UserId::new()).collect();
        let mut organization = founded(&stores, admins[0]).await;
        for admin in &admins[1..] {
            organization = put(&stores, organization.join(*admin, Role::Admin, at(2)).unwrap()).await;
        }
        let takes = (0..admins.len()).map(|i| {
            let (stores, organization) = (stores.clone(), organization.clone());
            let (one, remove) = (admins[(i + 1) % admins.len()], (i + round) % 2 == 0);
            tokio::spawn(async move {
                let mut current = organization;
                loop {
                    let next =
                        if remove { current.remove(one) } else { current.change_role(one, Role::Viewer) };
                    let next = match next {
                        Ok(next) => next,
                        Err(refused) => return Some(refused),
                    };
                    match stores.organizations.update(&next).await.unwrap() {
                        Changed::Updated => return None,
                        Changed::Conflict(now) => current = now,
                        other => panic!("{other:?}"),
                    }
                }
            })
        });
        let mut refused = Vec::new();
        for take in takes.collect::<Vec<_>>() {
            refused.extend(take.await.unwrap());
        }
        assert_eq!(refused, [MembershipError::LastAdmin]);
        let left = stores.organizations.get(organization.id).await.unwrap().unwrap();
        assert_eq!(left.admins().count(), 1);
        let admin = left.admins().next().unwrap();
        assert_eq!(stores.organizations.role(left.id, admin).await.unwrap(), Some(Role::Admin));
    }
}

//! How an installation begins, and API keys.

use std::collections::BTreeSet;
use std::time::Duration;

use gantry_domain::id::{KeyId, OrganizationId, UserId};
use gantry_domain::identity::{ApiKey, Organization};
use gantry_domain::permission::{Permission, Scope};
use gantry_domain::role::Role;

use super::fixtures::*;
use super::people::{added, founded, put, user};
use crate::{Bootstrap, Changed, Stores};

pub fn key(organization: OrganizationId, owner: UserId, secret: u8) -> ApiKey {
    let prefix = "gantry_0a1b".into();
    ApiKey::new(organization, owner, "first", [Scope::Admin], [secret; 32], prefix, at(1))
}

fn first(secret: u8) -> Bootstrap {
    let user = user("admin@localhost");
    let organization = Organization::found(OrganizationId::new(), "default".into(), user.id, at(1));
    Bootstrap { key: key(organization.id, user.id, secret), organization, user }
}

pub async fn an_installation_keeps_its_id(stores: Stores) {
    let asked = (0..10).map(|_| {
        let stores = stores.clone();
        tokio::spawn(async move { stores.auth.installation().await.unwrap() })
    });
    let id = stores.auth.installation().await.unwrap();
    for answer in asked.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap(), id);
    }
}

pub async fn only_the_first_bootstrap_counts(stores: Stores) {
    let (one, other) = (first(1), first(2));
    assert_eq!(stores.auth.first_organization().await.unwrap(), None);
    assert_eq!(stores.auth.operators().await.unwrap(), None);
    assert!(stores.auth.bootstrap(&one).await.unwrap());
    assert_eq!(stores.auth.operators().await.unwrap(), Some(one.organization.id));
    assert!(!stores.auth.bootstrap(&other).await.unwrap());
    let organization = stores.organizations.get(one.organization.id).await.unwrap();
    assert_eq!(organization.as_ref(), Some(&one.organization));
    assert_eq!(stores.auth.first_organization().await.unwrap(), organization);
    assert_eq!(stores.organizations.get(other.organization.id).await.unwrap(), None);
    assert_eq!(stores.keys.by_hash(&[2; 32]).await.unwrap(), None);
    let presented = stores.keys.look_up(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(presented.credential, one.key);
    assert_eq!(presented.user, Some(one.user));
    assert_eq!(presented.role, Some(Role::Admin));
}

pub async fn of_many_bootstraps_at_once_one_counts(stores: Stores) {
    let starts = (1..=8).map(|i| {
        let stores = stores.clone();
        tokio::spawn(async move { stores.auth.bootstrap(&first(i)).await.unwrap() })
    });
    let mut made = 0;
    for start in starts.collect::<Vec<_>>() {
        made += usize::from(start.await.unwrap());
    }
    assert_eq!(made, 1);
    let organization = stores.auth.first_organization().await.unwrap().unwrap();
    let admin = organization.admins().next().unwrap();
    assert_eq!(stores.organizations.of_user(admin).await.unwrap(), std::slice::from_ref(&organization));
    assert_eq!(stores.users.get(admin).await.unwrap().unwrap().email.as_str(), "admin@localhost");
    let keys = stores.keys.list(organization.id, None, None, 10).await.unwrap();
    assert_eq!(keys.items.len(), 1);
    assert_eq!(keys.items[0].owner, admin);
}

pub async fn keys_are_found_by_hash(stores: Stores) {
    let (organization, owner) = (OrganizationId::new(), UserId::new());
    let full = ApiKey {
        revoked_at: Some(at(9)),
        expires_at: Some(at(99)),
        rotated_at: Some(at(5)),
        scopes: Scope::ALL.into(),
        ..key(organization, owner, 3)
    };
    for key in [&key(organization, owner, 2), &full, &full] {
        stores.keys.add(key).await.unwrap();
    }
    assert_eq!(stores.keys.by_hash(&[3; 32]).await.unwrap(), Some(full.clone()));
    assert_eq!(stores.keys.by_hash(&[4; 32]).await.unwrap(), None);
    assert_eq!(stores.keys.get(organization, full.id).await.unwrap(), Some(full.clone()));
    assert_eq!(stores.keys.get(OrganizationId::new(), full.id).await.unwrap(), None, "another tenant's");
    let same_secret = key(organization, owner, 3);
    assert!(stores.keys.add(&same_secret).await.is_err(), "a secret belongs to one key");
    let same_id = ApiKey { secret_hash: [5; 32], ..full };
    assert!(stores.keys.add(&same_id).await.is_err());
}

pub async fn a_key_is_worth_what_its_owner_is_now(stores: Stores) {
    let (admin, ann) = (added(&stores, "admin@example.com").await, added(&stores, "ann@example.com").await);
    let organization = founded(&stores, admin.id).await;
    let organization = put(&stores, organization.join(ann.id, Role::Maintainer, at(2)).unwrap()).await;
    stores.keys.add(&key(organization.id, ann.id, 7)).await.unwrap();
    let may = async |permission| {
        let presented = stores.keys.look_up(&[7; 32]).await.unwrap().unwrap();
        let (user, role) = (presented.user.as_ref(), presented.role);
        presented.credential.permissions(user, role, at(3)).is_ok_and(|all| all.contains(permission))
    };
    assert!(may(Permission::ProjectsWrite).await && !may(Permission::MembersManage).await);
    let organization = put(&stores, organization.change_role(ann.id, Role::Viewer).unwrap()).await;
    assert!(may(Permission::RunsRead).await && !may(Permission::ProjectsWrite).await);
    let ann = {
        stores.users.update(&ann.disable(at(4))).await.unwrap();
        stores.users.get(ann.id).await.unwrap().unwrap()
    };
    assert!(!may(Permission::RunsRead).await, "disabled");
    stores.users.update(&ann.enable()).await.unwrap();
    assert!(may(Permission::RunsRead).await);
    put(&stores, organization.remove(ann.id).unwrap()).await;
    assert!(!may(Permission::RunsRead).await, "not a member any more");
    assert_eq!(stores.keys.look_up(&[8; 32]).await.unwrap(), None);
    stores.keys.add(&key(organization.id, UserId::new(), 9)).await.unwrap();
    let nobodys = stores.keys.look_up(&[9; 32]).await.unwrap().unwrap();
    assert_eq!((nobodys.user, nobodys.role), (None, None));
}

pub async fn a_rotated_key_has_another_secret(stores: Stores) {
    let key = key(OrganizationId::new(), UserId::new(), 1);
    stores.keys.add(&key).await.unwrap();
    let rotated = key.rotate([2; 32], "gantry_ffff".into(), at(5)).unwrap();
    assert_eq!(stores.keys.update(&rotated).await.unwrap(), Changed::Updated);
    assert_eq!(stores.keys.by_hash(&[1; 32]).await.unwrap(), None);
    assert_eq!(stores.keys.by_hash(&[2; 32]).await.unwrap(), Some(rotated.clone()));
    // Somebody revokes what he read before.
    let late = key.revoke(at(6));
    assert_eq!(stores.keys.update(&late).await.unwrap(), Changed::Conflict(rotated.clone()));
    let revoked = rotated.revoke(at(6));
    assert_eq!(stores.keys.update(&revoked).await.unwrap(), Changed::Updated);
    assert_eq!(stores.keys.by_hash(&[2; 32]).await.unwrap().unwrap().revoked_at, Some(at(6)));
    let other = super::credentials::key(key.organization, key.owner, 3);
    stores.keys.add(&other).await.unwrap();
    let stolen = other.rotate([2; 32], String::new(), at(7)).unwrap();
    assert_eq!(stores.keys.update(&stolen).await.unwrap(), Changed::Taken);
}

pub async fn a_use_is_noted_once_a_minute(stores: Stores) {
    let key = key(OrganizationId::new(), UserId::new(), 1);
    stores.keys.add(&key).await.unwrap();
    let last_used = async || stores.keys.by_hash(&[1; 32]).await.unwrap().unwrap().last_used_at;
    for (used, noted) in [(100, 100), (130, 100), (159, 100), (160, 160), (150, 160), (400, 400)] {
        stores.keys.used(key.id, at(used)).await.unwrap();
        assert_eq!(last_used().await, Some(at(noted)), "used at {used}");
    }
    // It conflicts with nothing, and survives changes.
    assert_eq!(stores.keys.update(&key.revoke(at(401))).await.unwrap(), Changed::Updated);
    assert_eq!(last_used().await, Some(at(400)));
    let listed = stores.keys.list(key.organization, None, None, 5).await.unwrap();
    assert_eq!(listed.items[0].last_used_at, Some(at(400)));
    let presented = stores.keys.look_up(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(presented.credential.last_used_at, Some(at(400)));
    stores.keys.used(KeyId::new(), at(1) + Duration::from_secs(1)).await.unwrap();
}

pub async fn keys_are_listed_newest_first_in_pages(stores: Stores) {
    let (organization, ann, bob) = (OrganizationId::new(), UserId::new(), UserId::new());
    let mut keys = Vec::new();
    for secret in 0..7 {
        let owner = if secret % 3 == 0 { bob } else { ann };
        let key = key(organization, owner, secret);
        stores.keys.add(&key).await.unwrap();
        keys.insert(0, key);
    }
    stores.keys.add(&key(OrganizationId::new(), ann, 99)).await.unwrap();
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = stores.keys.list(organization, None, after, 3).await.unwrap();
        seen.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, keys);
    let of_ann = stores.keys.list(organization, Some(ann), None, 10).await.unwrap();
    assert_eq!(of_ann.next, None);
    let expected: BTreeSet<_> = keys.iter().filter(|key| key.owner == ann).map(|key| key.id).collect();
    assert_eq!(of_ann.items.iter().map(|key| key.id).collect::<BTreeSet<_>>(), expected);
    let page = stores.keys.list(organization, Some(ann), Some(of_ann.items[1].id), 10).await.unwrap();
    assert_eq!(page.items, of_ann.items[2..]);
}

pub async fn a_healthy_store_says_so(stores: Stores) {
    stores.auth.check().await.unwrap();
    stores.auth.check().await.unwrap();
}

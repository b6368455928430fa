use gantry_domain::id::{KeyId, OrganizationId, UserId};

use super::fixtures::*;
use crate::{ApiKey, Bootstrap, Organization, Stores, User};

fn first() -> Bootstrap {
    let organization = OrganizationId::new();
    Bootstrap {
        organization: Organization { id: organization, name: "acme".into(), created_at: at(1) },
        user: User {
            id: UserId::new(),
            organization,
            email: "admin@example.com".into(),
            password_hash: "$argon2id$…".into(),
            created_at: at(1),
        },
        key: key(organization, 1),
    }
}

fn key(organization: OrganizationId, secret: u8) -> ApiKey {
    ApiKey {
        id: KeyId::new(),
        organization,
        name: "first".into(),
        secret_hash: [secret; 32],
        created_at: at(1),
        revoked_at: None,
    }
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
    let (one, other) = (first(), first());
    assert_eq!(stores.auth.first_organization().await.unwrap(), None);
    assert!(stores.auth.bootstrap(&one).await.unwrap());
    assert!(!stores.auth.bootstrap(&other).await.unwrap());
    let organization = stores.auth.organization(one.organization.id).await.unwrap();
    assert_eq!(organization.as_ref(), Some(&one.organization));
    assert_eq!(stores.auth.first_organization().await.unwrap(), organization);
    assert_eq!(stores.auth.organization(other.organization.id).await.unwrap(), None);
    assert_eq!(stores.auth.key_by_hash(&[1; 32]).await.unwrap(), Some(one.key));
}

pub async fn keys_are_found_by_hash(stores: Stores) {
    let organization = OrganizationId::new();
    let revoked = ApiKey { revoked_at: Some(at(9)), ..key(organization, 3) };
    for key in [&key(organization, 2), &revoked] {
        stores.auth.add_key(key).await.unwrap();
    }
    assert_eq!(stores.auth.key_by_hash(&[3; 32]).await.unwrap(), Some(revoked));
    assert_eq!(stores.auth.key_by_hash(&[4; 32]).await.unwrap(), None);
}

pub async fn a_healthy_store_says_so(stores: Stores) {
    stores.auth.check().await.unwrap();
    stores.auth.check().await.unwrap();
}

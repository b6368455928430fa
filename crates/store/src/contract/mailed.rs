//! What is mailed and works once: invitations and password resets.

use gantry_domain::id::{InvitationId, OrganizationId, UserId};
use gantry_domain::identity::invitation::{Accept, InvitationRefused, Invite};
use gantry_domain::identity::{Invitation, PasswordReset};
use gantry_domain::role::Role;

use super::fixtures::*;
use super::people::{added, founded, put, user};
use crate::{Changed, Stores};

fn invitation(organization: OrganizationId, email: &str, token: u8) -> Invitation {
    let email = email.parse().unwrap();
    let invite = Invite { organization, email, role: Role::Member, invited_by: UserId::from_u128(1) };
    Invitation::new(invite, [token; 32], at(1))
}

pub async fn an_invitation_is_stored_as_it_is(stores: Stores) {
    let organization = OrganizationId::new();
    let invitation = invitation(organization, "ann@example.com", 1);
    assert!(stores.invitations.add(&invitation).await.unwrap());
    assert_eq!(stores.invitations.by_token(&[1; 32]).await.unwrap(), Some(invitation.clone()));
    let resent = invitation.resend([2; 32], Role::Viewer, at(9)).unwrap();
    assert_eq!(stores.invitations.update(&resent).await.unwrap(), Changed::Updated);
    assert_eq!(stores.invitations.by_token(&[1; 32]).await.unwrap(), None, "the mail before does nothing");
    assert_eq!(stores.invitations.by_token(&[2; 32]).await.unwrap(), Some(resent.clone()));
    let open = stores.invitations.open(organization, &"ANN@example.com".parse().unwrap()).await.unwrap();
    assert_eq!(open, Some(resent.clone()));
    assert_eq!(stores.invitations.get(organization, resent.id).await.unwrap(), Some(resent.clone()));
    assert_eq!(stores.invitations.get(OrganizationId::new(), resent.id).await.unwrap(), None);
    let late = invitation.revoke(at(10)).unwrap();
    assert_eq!(stores.invitations.update(&late).await.unwrap(), Changed::Conflict(resent.clone()));
    let revoked = resent.revoke(at(10)).unwrap();
    assert_eq!(stores.invitations.update(&revoked).await.unwrap(), Changed::Updated);
    assert_eq!(stores.invitations.by_token(&[2; 32]).await.unwrap(), Some(revoked));
    assert_eq!(stores.invitations.open(organization, &resent.email).await.unwrap(), None);
}

pub async fn one_invitation_to_an_address_is_open(stores: Stores) {
    let organization = OrganizationId::new();
    let tries = (0..10).map(|i| {
        let stores = stores.clone();
        tokio::spawn(async move {
            let invitation = invitation(organization, "ann@example.com", i);
            stores.invitations.add(&invitation).await.unwrap().then_some(invitation)
        })
    });
    let mut stored = Vec::new();
    for answer in tries.collect::<Vec<_>>() {
        stored.extend(answer.await.unwrap());
    }
    assert_eq!(stored.len(), 1);
    assert!(stores.invitations.add(&invitation(OrganizationId::new(), "ann@example.com", 20)).await.unwrap());
    assert!(stores.invitations.add(&invitation(organization, "bob@example.com", 21)).await.unwrap());
    let revoked = stored[0].revoke(at(2)).unwrap();
    assert_eq!(stores.invitations.update(&revoked).await.unwrap(), Changed::Updated);
    assert!(stores.invitations.add(&invitation(organization, "ann@example.com", 22)).await.unwrap());
}

/// The way to accept, from the token to the member.
async fn accept(
    stores: &Stores,
    token: u8,
    user: &gantry_domain::identity::User,
) -> Result<(), InvitationRefused> {
    let mut invitation = stores.invitations.by_token(&[token; 32]).await.unwrap().unwrap();
    loop {
        match invitation.accept(user, at(5))? {
            Accept::GoOn => break,
            Accept::Begin(next) => match stores.invitations.update(&next).await.unwrap() {
                Changed::Updated => {
                    invitation = next;
                    break;
                }
                Changed::Conflict(now) => invitation = now,
                other => panic!("{other:?}"),
            },
        }
    }
    let mut organization = stores.organizations.get(invitation.organization).await.unwrap().unwrap();
    while let Ok(next) = organization.join(user.id, invitation.role, at(5)) {
        match stores.organizations.update(&next).await.unwrap() {
            Changed::Updated => break,
            Changed::Conflict(now) => organization = now,
            other => panic!("{other:?}"),
        }
    }
    if let Some(settled) = invitation.settle() {
        stores.invitations.update(&settled).await.unwrap();
    }
    Ok(())
}

pub async fn an_invitation_is_accepted_once(stores: Stores) {
    let admin = added(&stores, "admin@example.com").await;
    let ann = added(&stores, "ann@example.com").await;
    let organization = founded(&stores, admin.id).await;
    assert!(stores.invitations.add(&invitation(organization.id, "ann@example.com", 1)).await.unwrap());
    // Two accounts cannot have one address; but one could have moved away in between.
    let moved = user("ann@example.com");
    let tries = (0..20).map(|i| {
        let (stores, user) = (stores.clone(), if i % 2 == 0 { ann.clone() } else { moved.clone() });
        tokio::spawn(async move { accept(&stores, 1, &user).await.is_ok().then_some(user.id) })
    });
    let mut accepted = Vec::new();
    for answer in tries.collect::<Vec<_>>() {
        accepted.extend(answer.await.unwrap());
    }
    accepted.dedup();
    assert!(!accepted.is_empty() && accepted.iter().all(|user| *user == accepted[0]), "{accepted:?}");
    let members = stores.organizations.get(organization.id).await.unwrap().unwrap();
    assert_eq!(members.members().len(), 2, "and one of them is in");
    assert_eq!(members.member(accepted[0]).unwrap().role, Role::Member);
    // Whoever is sent away does not come back with the old mail.
    put(&stores, members.remove(accepted[0]).unwrap()).await;
    for user in [&ann, &moved] {
        assert_eq!(accept(&stores, 1, user).await, Err(InvitationRefused::Accepted));
    }
    assert_eq!(stores.organizations.role(organization.id, accepted[0]).await.unwrap(), None);
}

pub async fn invitations_are_listed_newest_first_in_pages(stores: Stores) {
    let organization = OrganizationId::new();
    let mut invitations: Vec<InvitationId> = Vec::new();
    for i in 0..5 {
        let invitation = invitation(organization, &format!("ann{i}@example.com"), i);
        assert!(stores.invitations.add(&invitation).await.unwrap());
        invitations.insert(0, invitation.id);
    }
    assert!(stores.invitations.add(&invitation(OrganizationId::new(), "x@example.com", 99)).await.unwrap());
    let first = stores.invitations.list(organization, None, 2).await.unwrap();
    let second = stores.invitations.list(organization, first.next, 10).await.unwrap();
    assert_eq!(second.next, None);
    let listed: Vec<_> = first.items.iter().chain(&second.items).map(|invitation| invitation.id).collect();
    assert_eq!((first.items.len(), listed), (2, invitations));
}

pub async fn a_reset_is_used_once(stores: Stores) {
    let reset = PasswordReset::new(UserId::new(), [1; 32], at(1));
    stores.resets.add(&reset).await.unwrap();
    assert_eq!(stores.resets.by_token(&[2; 32]).await.unwrap(), None);
    let uses = (0..10).map(|_| {
        let stores = stores.clone();
        tokio::spawn(async move {
            let reset = stores.resets.by_token(&[1; 32]).await.unwrap().unwrap();
            match reset.use_up(at(2)) {
                Ok(next) => stores.resets.update(&next).await.unwrap() == Changed::Updated,
                Err(_) => false,
            }
        })
    });
    let mut used = 0;
    for answer in uses.collect::<Vec<_>>() {
        used += usize::from(answer.await.unwrap());
    }
    assert_eq!(used, 1);
    let stored = stores.resets.by_token(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(stored, reset.use_up(at(2)).unwrap());
    assert_eq!(stores.resets.forget(reset.expires_at).await.unwrap(), 0);
    assert_eq!(
        stores.resets.forget(reset.expires_at + gantry_domain::identity::session::GRACE).await.unwrap(),
        1
    );
    assert_eq!(stores.resets.by_token(&[1; 32]).await.unwrap(), None);
}

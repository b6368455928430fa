//! Sessions: one live successor, whatever happens at once.

use gantry_domain::id::{OrganizationId, SessionId, UserId};
use gantry_domain::identity::session::{Client, EndedWhy, Refresh, SessionLife};
use gantry_domain::identity::{Session, User};
use gantry_domain::role::Role;

use super::fixtures::*;
use super::people::{added, founded, user};
use crate::{Changed, Stores};

fn begun(user: &User, family: u8) -> Session {
    let client = Client { address: "192.0.2.7".into(), agent: "curl/8".into() };
    let hashes = ([family; 32], [family + 100; 32]);
    Session::begin(
        user,
        Some(OrganizationId::from_u128(3)),
        hashes.0,
        hashes.1,
        client,
        SessionLife::default(),
        at(1),
    )
}

async fn stored(stores: &Stores, user: &User, family: u8) -> Session {
    let session = begun(user, family);
    stores.sessions.add(&session).await.unwrap();
    session
}

pub async fn a_session_is_stored_as_it_is(stores: Stores) {
    let ann = user("ann@example.com");
    let session = stored(&stores, &ann, 1).await;
    assert_eq!(stores.sessions.by_family(&[1; 32]).await.unwrap(), Some(session.clone()));
    assert_eq!(stores.sessions.by_family(&[101; 32]).await.unwrap(), None);
    assert_eq!(stores.sessions.get(ann.id, session.id).await.unwrap(), Some(session.clone()));
    assert_eq!(stores.sessions.get(UserId::new(), session.id).await.unwrap(), None, "another's");
    let refreshed = session.refresh(Some(&ann), &[101; 32], [9; 32], SessionLife::default(), at(5)).unwrap();
    let Refresh::Rotated(next) = refreshed else { panic!("{refreshed:?}") };
    assert_eq!(stores.sessions.update(&next).await.unwrap(), Changed::Updated);
    assert_eq!(stores.sessions.by_family(&[1; 32]).await.unwrap(), Some(next.clone()));
    let over = next.switch(None).end(EndedWhy::SignedOut, at(6));
    let over = Session { version: 3, ..over };
    assert_eq!(stores.sessions.update(&over).await.unwrap(), Changed::Updated);
    assert_eq!(stores.sessions.by_family(&[1; 32]).await.unwrap(), Some(over));
    let unknown = begun(&ann, 50).end(EndedWhy::Revoked, at(6));
    assert_eq!(stores.sessions.update(&unknown).await.unwrap(), Changed::NotFound);
    assert!(stores.sessions.add(&begun(&ann, 1)).await.is_err(), "a family is one session");
}

/// Fifty present the same token at once, each with a fresh one for himself: one of them has it, and his is the one that
/// works next. Nobody presented an old token, so the session lives.
pub async fn of_fifty_refreshes_at_once_one_has_the_successor(stores: Stores) {
    let ann = user("ann@example.com");
    let session = stored(&stores, &ann, 1).await;
    let tries = (0..50_u8).map(|i| {
        let (stores, ann) = (stores.clone(), ann.clone());
        tokio::spawn(async move {
            loop {
                let session = stores.sessions.by_family(&[1; 32]).await.unwrap().unwrap();
                match session.refresh(Some(&ann), &[101; 32], [i; 32], SessionLife::default(), at(5)) {
                    Ok(Refresh::Rotated(next)) => match stores.sessions.update(&next).await.unwrap() {
                        Changed::Updated => return Some(i),
                        Changed::Conflict(_) => {}
                        other => panic!("{other:?}"),
                    },
                    Ok(Refresh::Superseded) => return None,
                    other => panic!("{other:?}"),
                }
            }
        })
    });
    let mut winners = Vec::new();
    for answer in tries.collect::<Vec<_>>() {
        winners.extend(answer.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    let now = stores.sessions.get(ann.id, session.id).await.unwrap().unwrap();
    assert_eq!((now.current_hash, now.version), ([winners[0]; 32], 2));
    assert_eq!(now.check(Some(&ann), at(5)), Ok(()));
}

/// A thief and the owner, again and again: as soon as an old token is seen nobody has a session.
pub async fn a_reused_token_ends_the_family_whoever_is_first(stores: Stores) {
    let (ann, life) = (user("ann@example.com"), SessionLife::default());
    stored(&stores, &ann, 1).await;
    let rotate = async |token: u8, fresh: u8, seconds| {
        let session = stores.sessions.by_family(&[1; 32]).await.unwrap().unwrap();
        match session.refresh(Some(&ann), &[token; 32], [fresh; 32], life, at(seconds)) {
            Ok(Refresh::Rotated(next) | Refresh::Reused(next)) => {
                assert_eq!(stores.sessions.update(&next).await.unwrap(), Changed::Updated);
                next.ended.is_none()
            }
            Ok(Refresh::Superseded) => panic!("long ago"),
            Err(_) => false,
        }
    };
    assert!(rotate(101, 102, 100).await, "the thief");
    assert!(!rotate(101, 103, 200).await, "the owner, with the token that was stolen");
    assert!(!rotate(102, 104, 201).await, "and the thief again");
    assert_eq!(stores.sessions.of_user(ann.id, 10).await.unwrap(), []);
}

pub async fn a_session_is_looked_up_with_what_its_user_is_now(stores: Stores) {
    let ann = added(&stores, "ann@example.com").await;
    let (ours, other) = (founded(&stores, ann.id).await, founded(&stores, UserId::new()).await);
    let session = stored(&stores, &ann, 1).await;
    let look_up =
        async |id, user, organization| stores.sessions.look_up(id, user, organization).await.unwrap();
    let presented = look_up(session.id, ann.id, ours.id).await.unwrap();
    assert_eq!(presented.credential, session);
    assert_eq!((presented.user, presented.role), (Some(ann.clone()), Some(Role::Admin)));
    assert_eq!(look_up(session.id, ann.id, other.id).await.unwrap().role, None);
    assert_eq!(look_up(session.id, UserId::new(), ours.id).await, None, "a session of somebody else");
    assert_eq!(look_up(SessionId::new(), ann.id, ours.id).await, None);
    stores.users.update(&ann.sign_out_everywhere()).await.unwrap();
    let presented = look_up(session.id, ann.id, ours.id).await.unwrap();
    assert!(presented.credential.check(presented.user.as_ref(), at(2)).is_err());
}

pub async fn sessions_that_go_on_are_listed_newest_first(stores: Stores) {
    let (ann, bob) = (user("ann@example.com"), user("bob@example.com"));
    let mut sessions = Vec::new();
    for family in 1..=4 {
        sessions.insert(0, stored(&stores, &ann, family).await);
    }
    stored(&stores, &bob, 9).await;
    let over = sessions.remove(1).end(EndedWhy::Revoked, at(9));
    assert_eq!(stores.sessions.update(&over).await.unwrap(), Changed::Updated);
    assert_eq!(stores.sessions.of_user(ann.id, 10).await.unwrap(), sessions);
    assert_eq!(stores.sessions.of_user(ann.id, 2).await.unwrap(), sessions[..2]);
}

pub async fn expired_sessions_are_forgotten(stores: Stores) {
    let ann = user("ann@example.com");
    let (old, young) = (stored(&stores, &ann, 1).await, begun(&ann, 2));
    let young = Session { expires_at: old.expires_at + gantry_domain::identity::session::GRACE, ..young };
    stores.sessions.add(&young).await.unwrap();
    assert_eq!(stores.sessions.forget(old.expires_at).await.unwrap(), 0);
    assert_eq!(stores.sessions.forget(young.expires_at).await.unwrap(), 1);
    assert_eq!(stores.sessions.get(ann.id, old.id).await.unwrap(), None);
    assert_eq!(stores.sessions.get(ann.id, young.id).await.unwrap(), Some(young));
}

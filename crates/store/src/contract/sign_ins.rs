//! Failed sign-ins: nobody gets more guesses by asking at once.

use gantry_domain::identity::lockout::{Failures, LockoutPolicy, Subject};

use super::fixtures::*;
use crate::{Attempt, Stores};

fn account(email: &str) -> Subject {
    Subject::Account(email.parse().unwrap())
}

async fn let_through(stores: &Stores, subject: &Subject, seconds: u64) -> bool {
    matches!(stores.sign_ins.attempt(subject, at(seconds)).await.unwrap(), Attempt::Counted { .. })
}

pub async fn of_many_attempts_at_once_only_the_free_ones_get_through(stores: Stores) {
    let ann = account("ann@example.com");
    let tries = (0..40).map(|_| {
        let (stores, ann) = (stores.clone(), ann.clone());
        tokio::spawn(async move { let_through(&stores, &ann, 1).await })
    });
    let mut passed = 0;
    for answer in tries.collect::<Vec<_>>() {
        passed += u32::from(answer.await.unwrap());
    }
    assert_eq!(passed, LockoutPolicy::ACCOUNT.free);
    let failures = Failures { count: passed, last_at: at(1) };
    assert_eq!(stores.sign_ins.failures(&ann).await.unwrap(), Some(failures));
    assert_eq!(stores.sign_ins.attempt(&ann, at(30)).await.unwrap(), Attempt::Locked(at(31)));
    assert!(let_through(&stores, &ann, 31).await);
    assert_eq!(stores.sign_ins.attempt(&ann, at(32)).await.unwrap(), Attempt::Locked(at(91)));
    assert!(let_through(&stores, &account("bob@example.com"), 32).await, "nobody else is locked");
    let address = Subject::address("192.0.2.1".parse().unwrap());
    assert!(let_through(&stores, &address, 32).await);
}

pub async fn a_success_forgives_and_an_unjudged_attempt_is_taken_back(stores: Stores) {
    let ann = account("ann@example.com");
    let count = async || stores.sign_ins.failures(&ann).await.unwrap().map(|failures| failures.count);
    let none = Failures { count: 0, last_at: at(0) };
    stores.sign_ins.take_back(&ann, none, None).await.unwrap();
    stores.sign_ins.forgive(&ann).await.unwrap();
    assert_eq!(count().await, None);
    let attempt = async |seconds| match stores.sign_ins.attempt(&ann, at(seconds)).await.unwrap() {
        Attempt::Counted { now, before } => (now, before),
        Attempt::Locked(until) => panic!("locked until {until:?}"),
    };
    let (first, nothing) = attempt(1).await;
    assert_eq!((first.count, nothing), (1, None));
    let (second, before) = attempt(2).await;
    assert_eq!(before, Some(first));
    stores.sign_ins.take_back(&ann, second, before).await.unwrap();
    assert_eq!(stores.sign_ins.failures(&ann).await.unwrap(), Some(first), "as if it had not been");
    let (late, before) = attempt(3).await;
    let (later, _) = attempt(4).await;
    stores.sign_ins.take_back(&ann, late, before).await.unwrap();
    assert_eq!(stores.sign_ins.failures(&ann).await.unwrap(), Some(Failures { count: 2, ..later }));
    stores.sign_ins.forgive(&ann).await.unwrap();
    assert_eq!(count().await, None);
    assert!(let_through(&stores, &ann, 2).await);
}

pub async fn old_failures_are_forgotten(stores: Stores) {
    for (email, seconds) in [("ann@example.com", 1), ("bob@example.com", 9)] {
        assert!(let_through(&stores, &account(email), seconds).await);
    }
    assert_eq!(stores.sign_ins.forget(at(1)).await.unwrap(), 0);
    assert_eq!(stores.sign_ins.forget(at(9)).await.unwrap(), 1);
    assert_eq!(stores.sign_ins.failures(&account("ann@example.com")).await.unwrap(), None);
    assert!(stores.sign_ins.failures(&account("bob@example.com")).await.unwrap().is_some());
}

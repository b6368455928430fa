//! The audit log: complete, in order, and each tenant's own.

use gantry_domain::id::{KeyId, OrganizationId, UserId};
use gantry_domain::identity::{AuditAction, AuditEntry, Outcome};
use gantry_domain::run::Actor;

use super::fixtures::*;
use crate::{AuditFilter, Stores};

fn entry(organization: OrganizationId, action: AuditAction, seconds: u64) -> AuditEntry {
    AuditEntry::new(action, Outcome::Done, at(seconds)).organization(organization)
}

async fn listed(
    stores: &Stores,
    organization: OrganizationId,
    filter: &AuditFilter,
    limit: u32,
) -> Vec<AuditEntry> {
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = stores.audit.list(Some(organization), filter, after, limit).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        seen.extend(page.items);
        after = page.next;
        if after.is_none() {
            return seen;
        }
    }
}

pub async fn an_entry_is_stored_once_as_it_is(stores: Stores) {
    let organization = OrganizationId::new();
    let full = entry(organization, AuditAction::MemberRoleChanged, 1)
        .by(Actor::Key(KeyId::new()))
        .to(UserId::new())
        .from_address("192.0.2.1")
        .with("before", "viewer")
        .with("after", "admin\r\nnot.a$field");
    let newer = entry(organization, AuditAction::Other("moon_landed".into()), 2);
    for entry in [&full, &full, &newer] {
        stores.audit.append(entry).await.unwrap();
    }
    assert_eq!(listed(&stores, organization, &AuditFilter::default(), 10).await, [newer, full]);
}

pub async fn the_audit_log_is_newest_first_in_pages(stores: Stores) {
    let organization = OrganizationId::new();
    let mut entries = Vec::new();
    for seconds in [5, 1, 9, 9, 3, 7, 9] {
        let entry = entry(organization, AuditAction::SignIn, seconds);
        stores.audit.append(&entry).await.unwrap();
        entries.push(entry);
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.id));
    assert!(entries.is_sorted_by_key(|entry| std::cmp::Reverse(entry.at)));
    for limit in [1, 2, 3, 7, 50] {
        assert_eq!(listed(&stores, organization, &AuditFilter::default(), limit).await, entries);
    }
}

pub async fn entries_are_found_by_time_actor_and_action(stores: Stores) {
    let (organization, actors) = (OrganizationId::new(), [Actor::User(UserId::new()), Actor::System]);
    let actions = [AuditAction::SignIn, AuditAction::KeyRevoked, AuditAction::RunCancelled];
    let mut entries = Vec::new();
    for seconds in 0..24_usize {
        let entry = entry(organization, actions[seconds % 3].clone(), seconds as u64);
        let entry = if seconds % 4 == 3 { entry } else { entry.by(actors[seconds % 2]) };
        stores.audit.append(&entry).await.unwrap();
        entries.insert(0, entry);
    }
    let all = AuditFilter::default;
    let range = AuditFilter { from: Some(at(5)), before: Some(at(17)), ..all() };
    let filters = [
        all(),
        AuditFilter { actor: Some(actors[0]), ..all() },
        AuditFilter { action: Some(actions[1].clone()), ..all() },
        AuditFilter { actor: Some(actors[1]), action: Some(actions[2].clone()), ..all() },
        AuditFilter { actor: Some(actors[0]), action: Some(actions[0].clone()), ..range.clone() },
        AuditFilter { actor: Some(actors[0]), ..range.clone() },
        AuditFilter { action: Some(actions[0].clone()), ..range.clone() },
        AuditFilter { before: Some(at(3)), ..all() },
        AuditFilter { from: Some(at(99)), ..all() },
        range,
    ];
    let mut found = 0;
    for filter in filters {
        let fits = |entry: &&AuditEntry| {
            filter.from.is_none_or(|from| entry.at >= from)
                && filter.before.is_none_or(|before| entry.at < before)
                && filter.actor.is_none_or(|actor| entry.actor == Some(actor))
                && filter.action.as_ref().is_none_or(|action| entry.action == *action)
        };
        let expected: Vec<_> = entries.iter().filter(fits).cloned().collect();
        found += usize::from(!expected.is_empty());
        assert_eq!(listed(&stores, organization, &filter, 2).await, expected, "{filter:?}");
    }
    assert_eq!(found, 9, "all but one find something");
}

pub async fn each_tenant_reads_its_own_entries(stores: Stores) {
    let (one, other) = (OrganizationId::new(), OrganizationId::new());
    let ours = entry(one, AuditAction::KeyCreated, 1);
    let nobodys = AuditEntry::new(AuditAction::SignIn, Outcome::Refused, at(2)).to("nobody@example.com");
    for entry in [&ours, &nobodys, &entry(other, AuditAction::KeyCreated, 3)] {
        stores.audit.append(entry).await.unwrap();
    }
    assert_eq!(listed(&stores, one, &AuditFilter::default(), 10).await, [ours]);
    let of_none = stores.audit.list(None, &AuditFilter::default(), None, 10).await.unwrap();
    assert_eq!(of_none.items, [nobodys]);
}

use std::collections::BTreeMap;

use gantry_domain::id::{OrganizationId, WorkerId};
use gantry_domain::run::{Actor, Hold, Run, RunStatus};

use super::fixtures::*;
use crate::{Deleted, Group, ListFilter, PoolDepth, Stores};

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Some step that the run's state allows.
async fn step(stores: &Stores, run: Run, dice: &mut Dice) -> Option<Run> {
    if dice.roll(8) == 0 {
        let group = [None, Some("a"), Some("b")][dice.roll(3) as usize].map(str::to_owned);
        return Some(match run.regroup(group) {
            Some(next) => store(stores, next).await,
            None => run,
        });
    }
    Some(match (run.status(), dice.roll(4)) {
        (RunStatus::Pending, 0) => store(stores, run.hold(Hold::Paused).unwrap()).await,
        (RunStatus::Pending, 1) => store(stores, run.cancel(Actor::System, at(1)).unwrap().unwrap()).await,
        (RunStatus::Pending, 2) => queued(stores, &run, at(1)).await,
        (RunStatus::Pending, _) => running(stores, &run, WorkerId::new(), at(45)).await,
        (RunStatus::Queued, _) => store(stores, run.cancel(Actor::System, at(1)).unwrap().unwrap()).await,
        (RunStatus::Running, 0) => store(stores, run.analyze(&token(&run), at(1)).unwrap().unwrap()).await,
        (RunStatus::Running | RunStatus::Analyzing, _) => store(stores, run.lose(0, at(1)).unwrap().0).await,
        (_, 0) => {
            assert_eq!(stores.runs.delete(run.organization, run.id).await.unwrap(), Deleted::Deleted);
            return None;
        }
        _ => run,
    })
}

fn depths_of(runs: &[Run]) -> Vec<PoolDepth> {
    let mut depths = BTreeMap::new();
    for run in runs.iter().filter(|run| !run.is_final()) {
        let pool = run.spec.pool.clone();
        let depth =
            depths.entry(pool.clone()).or_insert(PoolDepth { pool, pending: 0, queued: 0, running: 0 });
        match run.status() {
            RunStatus::Pending => depth.pending += 1,
            RunStatus::Queued => depth.queued += 1,
            _ => depth.running += 1,
        }
    }
    depths.into_values().collect()
}

fn groups_of(runs: &[Run]) -> BTreeMap<String, BTreeMap<&'static str, u64>> {
    let mut groups: BTreeMap<String, BTreeMap<&'static str, u64>> = BTreeMap::new();
    for run in runs {
        if let Some(group) = &run.spec.group {
            *groups.entry(group.clone()).or_default().entry(run.status().as_str()).or_default() += 1;
        }
    }
    groups
}

fn counted(groups: Vec<Group>) -> BTreeMap<String, BTreeMap<&'static str, u64>> {
    groups
        .into_iter()
        .map(|group| {
            let by_status: BTreeMap<_, _> = group.by_status.iter().map(|(s, n)| (s.as_str(), *n)).collect();
            assert_eq!(by_status.values().sum::<u64>(), group.runs);
            (group.name, by_status)
        })
        .collect()
}

pub async fn counts_agree_with_the_runs_whatever_happens(stores: Stores) {
    let mut dice = Dice(7);
    let organizations = [OrganizationId::new(), OrganizationId::new()];
    let mut runs = Vec::new();
    for _ in 0..15 {
        for _ in 0..8 {
            let organization = organizations[dice.roll(2) as usize];
            let new = run_with(organization, |run| {
                run.spec.pool = pool(["default", "gpu"][dice.roll(2) as usize]);
                run.spec.group = [None, Some("a".into()), Some("b".into())][dice.roll(3) as usize].clone();
            });
            runs.push(accept(&stores, new).await);
        }
        for _ in 0..30 {
            let chosen = runs.swap_remove(dice.roll(runs.len() as u64) as usize);
            runs.extend(step(&stores, chosen, &mut dice).await);
        }
        let mut depths = stores.dispatch.depths().await.unwrap();
        depths.sort_by(|a, b| a.pool.cmp(&b.pool));
        assert_eq!(depths, depths_of(&runs));
        for organization in organizations {
            let own: Vec<_> = runs.iter().filter(|run| run.organization == organization).cloned().collect();
            let mut depths = stores.dispatch.organization_depths(organization).await.unwrap();
            depths.sort_by(|a, b| a.pool.cmp(&b.pool));
            assert_eq!(depths, depths_of(&own));
            let groups = stores.runs.groups(organization, None, 10).await.unwrap().items;
            assert_eq!(counted(groups), groups_of(&own));
            let listed =
                stores.runs.list(organization, &ListFilter::default(), None, 500).await.unwrap().items;
            let mut newest_first = own;
            newest_first.sort_by_key(|run| std::cmp::Reverse(run.id));
            assert_eq!(listed, newest_first);
        }
    }
}

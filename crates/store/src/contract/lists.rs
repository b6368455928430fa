use std::time::Duration;

use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::{Run, RunStatus, TriggerKind};

use super::fixtures::*;
use crate::{ListFilter, NewRun, Stores};

async fn whole(stores: &Stores, organization: OrganizationId, filter: &ListFilter, limit: u32) -> Vec<Run> {
    let (mut runs, mut after) = (Vec::new(), None);
    loop {
        let page = stores.runs.list(organization, filter, after, limit).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        runs.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return runs,
        }
    }
}

fn newest_first(mut runs: Vec<Run>) -> Vec<RunId> {
    runs.sort_by_key(|run| std::cmp::Reverse(run.id));
    ids(&runs)
}

pub async fn a_list_is_newest_first_in_pages(stores: Stores) {
    let organization = OrganizationId::new();
    let mut runs = Vec::new();
    for _ in 0..25 {
        runs.push(accepted(&stores, organization).await);
    }
    let all = ListFilter::default();
    let first = stores.runs.list(organization, &all, None, 10).await.unwrap();
    assert_eq!((first.items.len(), first.next), (10, Some(runs[15].id)));
    assert_eq!(whole(&stores, organization, &all, 10).await.len(), 25);
    assert_eq!(ids(&whole(&stores, organization, &all, 7).await), newest_first(runs.clone()));
    let exact = stores.runs.list(organization, &all, None, 25).await.unwrap();
    assert_eq!((exact.items.len(), exact.next), (25, None), "the last page says so");
    assert_eq!(stores.runs.list(organization, &all, Some(runs[0].id), 10).await.unwrap().items, []);
}

/// Runs that differ in everything a filter speaks of.
async fn various(stores: &Stores, organization: OrganizationId) -> Vec<Run> {
    let mut runs = Vec::new();
    for i in 0..36_u64 {
        let new = run_with(organization, |run: &mut NewRun| {
            let spec = &mut run.spec;
            spec.project = [None, Some("shop".to_owned()), Some("Blog".to_owned())][i as usize % 3].clone();
            spec.environment = [Some("prod".to_owned()), None][i as usize % 2].clone();
            spec.group = (i % 4 > 0).then(|| format!("g{}", i % 4));
            spec.labels.insert("team".into(), ["red", "blue"][i as usize % 2].into());
            spec.labels.insert("part".into(), (i % 5).to_string());
            spec.command = Some(vec!["pytest".into(), format!("--Shard={i}")]);
            run.trigger.kind = [TriggerKind::Api, TriggerKind::Rerun][(i / 2) as usize % 2];
            run.created_at = at(i * 7200);
        });
        let run = accept(stores, new).await;
        runs.push(match i % 6 {
            0 => run,
            1 => queued(stores, &run, at(1)).await,
            2 => running(stores, &run, gantry_domain::id::WorkerId::new(), at(45)).await,
            3 => finished(stores, &run, 1, at(2)).await,
            _ => finished(stores, &run, 0, at(2)).await,
        });
    }
    runs
}

async fn expect(stores: &Stores, runs: &[Run], filter: ListFilter, fits: impl Fn(&Run) -> bool) {
    let wanted = newest_first(runs.iter().filter(|run| fits(run)).cloned().collect());
    for limit in [3, 100] {
        let listed = ids(&whole(stores, runs[0].organization, &filter, limit).await);
        assert_eq!(listed, wanted, "{filter:?}");
    }
}

pub async fn every_filter_is_kept(stores: Stores) {
    let runs = various(&stores, OrganizationId::new()).await;
    various(&stores, OrganizationId::new()).await;
    let all = ListFilter::default;
    for status in RunStatus::ALL {
        expect(&stores, &runs, all().status(status), |run| run.status() == status).await;
    }
    let several = all().status(RunStatus::Failed).status(RunStatus::Passed).status(RunStatus::Pending);
    expect(&stores, &runs, several, |run| {
        matches!(run.status(), RunStatus::Failed | RunStatus::Passed | RunStatus::Pending)
    })
    .await;
    let filter = ListFilter { projects: vec!["shop".into(), "none".into(), "shop".into()], ..all() };
    expect(&stores, &runs, filter, |run| run.spec.project.as_deref() == Some("shop")).await;
    let filter = ListFilter { projects: vec!["shop".into(), "Blog".into()], ..all() };
    expect(&stores, &runs, filter, |run| run.spec.project.is_some()).await;
    let filter = ListFilter { environments: vec!["prod".into()], ..all() };
    expect(&stores, &runs, filter, |run| run.spec.environment.is_some()).await;
    let filter = ListFilter { groups: vec!["g1".into(), "g3".into()], ..all() };
    expect(&stores, &runs, filter, |run| matches!(run.spec.group.as_deref(), Some("g1" | "g3"))).await;
    let filter = ListFilter { triggers: vec![TriggerKind::Rerun], ..all() };
    expect(&stores, &runs, filter, |run| run.trigger.kind == TriggerKind::Rerun).await;
    let labels = vec![("team".to_owned(), "red".to_owned()), ("part".to_owned(), "2".to_owned())];
    expect(&stores, &runs, ListFilter { labels, ..all() }, |run| {
        run.spec.labels["team"] == "red" && run.spec.labels["part"] == "2"
    })
    .await;
    let (from, before) = (at(7200 * 10), at(7200 * 20));
    let filter = ListFilter { created_from: Some(from), created_before: Some(before), ..all() };
    expect(&stores, &runs, filter, |run| run.created_at >= from && run.created_at < before).await;
    let filter = ListFilter { created_before: Some(T0), ..all() };
    expect(&stores, &runs, filter, |_| false).await;
    let number = runs[30].number.to_string();
    let id_part = runs[5].id.to_string()[10..].to_owned();
    for text in ["SHARD=1", "shop", "blOG", "BusyBox", "g2", &number, &id_part.to_lowercase(), "nowhere"] {
        let filter = ListFilter { text: Some(text.to_owned()), ..all() };
        let text = text.to_lowercase();
        expect(&stores, &runs, filter, |run| {
            let spec = &run.spec;
            let parts = [
                Some(run.id.to_string()),
                Some(run.number.to_string()),
                spec.image.clone(),
                spec.command.as_ref().map(|words| words.join(" ")),
                spec.project.clone(),
                spec.group.clone(),
            ];
            parts.into_iter().flatten().any(|part| part.to_lowercase().contains(&text))
        })
        .await;
    }
}

pub async fn filters_are_combined(stores: Stores) {
    let runs = various(&stores, OrganizationId::new()).await;
    let all = ListFilter::default;
    let filter = ListFilter { projects: vec!["shop".into()], environments: vec!["prod".into()], ..all() };
    expect(&stores, &runs, filter.clone().status(RunStatus::Passed), |run| {
        run.status() == RunStatus::Passed
            && run.spec.project.as_deref() == Some("shop")
            && run.spec.environment.is_some()
    })
    .await;
    let filter = ListFilter { groups: vec!["g2".into()], ..filter };
    expect(&stores, &runs, filter.status(RunStatus::Pending).status(RunStatus::Passed), |run| {
        matches!(run.status(), RunStatus::Passed | RunStatus::Pending)
            && run.spec.project.as_deref() == Some("shop")
            && run.spec.environment.is_some()
            && run.spec.group.as_deref() == Some("g2")
    })
    .await;
}

pub async fn a_list_stays_put_while_runs_come_in(stores: Stores) {
    let organization = OrganizationId::new();
    let mut before = Vec::new();
    for _ in 0..40 {
        before.push(accepted(&stores, organization).await);
    }
    let filter = ListFilter::default().status(RunStatus::Pending).status(RunStatus::Failed);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = stores.runs.list(organization, &filter, after, 9).await.unwrap();
        seen.extend(page.items);
        accepted(&stores, organization).await;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(ids(&seen), newest_first(before));
}

pub async fn a_search_through_too_many_runs_gives_a_partial_page(stores: Stores) {
    let organization = OrganizationId::new();
    let needle =
        accept(&stores, run_with(organization, |run| run.spec.project = Some("needle".into()))).await;
    let model = accepted(&stores, organization).await;
    let hay = (0..10_500).map(|i| Run { id: RunId::new(), number: 10 + i, ..model.clone() });
    stores.runs.import(hay.collect()).await.unwrap();
    let filter = ListFilter { text: Some("needle".into()), ..ListFilter::default() };
    let page = stores.runs.list(organization, &filter, None, 10).await.unwrap();
    assert_eq!(page.items, []);
    let next = page.next.expect("there is more to look at");
    let page = stores.runs.list(organization, &filter, Some(next), 10).await.unwrap();
    assert_eq!((page.items, page.next), (vec![needle], None));
}

pub async fn groups_count_their_runs(stores: Stores) {
    let organization = OrganizationId::new();
    let grouped = |group: &str, seconds| {
        run_with(organization, |run| {
            run.spec.group = Some(group.to_owned());
            run.created_at = T0 + Duration::from_secs(seconds);
        })
    };
    let first = accept(&stores, grouped("b", 1)).await;
    accept(&stores, grouped("b", 2)).await;
    let last = accept(&stores, grouped("b", 3)).await;
    accept(&stores, grouped("a", 9)).await;
    accept(&stores, grouped("c", 4)).await;
    accepted(&stores, organization).await;
    let foreign = run_with(OrganizationId::new(), |run| run.spec.group = Some("b".into()));
    accept(&stores, foreign).await;
    let first = finished(&stores, &first, 0, at(5)).await;
    let last = finished(&stores, &last, 1, at(5)).await;

    let page = stores.runs.groups(organization, None, 2).await.unwrap();
    assert_eq!(page.items.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(page.next.as_deref(), Some("b"));
    let group = &page.items[1];
    assert_eq!((group.runs, group.last_created_at), (3, at(3)));
    let mut by_status = group.by_status.clone();
    by_status.sort_by_key(|(status, _)| status.as_str());
    assert_eq!(by_status, [(RunStatus::Failed, 1), (RunStatus::Passed, 1), (RunStatus::Pending, 1)]);
    let rest = stores.runs.groups(organization, Some("b"), 2).await.unwrap();
    assert_eq!((rest.items.len(), rest.items[0].name.as_str(), rest.next), (1, "c", None));

    stores.runs.delete(organization, last.id).await.unwrap();
    let group = stores.runs.groups(organization, Some("a"), 1).await.unwrap().items.remove(0);
    assert_eq!((group.runs, group.last_created_at), (2, at(2)));
    assert!(group.by_status.iter().all(|(status, _)| *status != RunStatus::Failed));

    let moved = store(&stores, first.regroup(Some("a".into())).unwrap()).await;
    let page = stores.runs.groups(organization, None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|group| group.runs).collect::<Vec<_>>(), [2, 1, 1]);
    let filter = ListFilter { groups: vec!["a".into()], ..ListFilter::default() };
    assert!(whole(&stores, organization, &filter, 10).await.contains(&moved));
    store(&stores, moved.regroup(None).unwrap()).await;
    let page = stores.runs.groups(organization, None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|group| group.runs).collect::<Vec<_>>(), [1, 1, 1]);
}

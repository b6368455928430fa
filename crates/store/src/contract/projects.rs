//! Projects.

use gantry_domain::id::{OrganizationId, ProjectId};
use gantry_domain::project::{Project, Retention, Sealed};
use gantry_domain::run::Actor;

use super::fixtures::*;
use crate::{Changed, Stores};

pub fn project(organization: OrganizationId, name: &str) -> Project {
    Project::new(organization, name.into(), at(1))
}

pub fn sealing(project: &Project, secret: &str) -> Project {
    let sealed = Sealed { sealed: format!("v1.k.{secret}"), updated_at: at(2), updated_by: Actor::System };
    project.next(at(2), |project| {
        project.secrets.insert("TOKEN".into(), sealed);
    })
}

pub async fn a_project_is_stored_as_it_is(stores: Stores) {
    let organization = OrganizationId::new();
    let full = sealing(&project(organization, "web shop é"), "x").next(at(3), |project| {
        project.defaults.image = Some("shop:1".into());
        project.images = vec!["registry.example/team/*".parse().unwrap()];
        project.variables.insert("A".into(), "1".into());
        project.retention = Retention { days: Some(3), runs: None };
    });
    assert!(stores.projects.add(&full).await.unwrap());
    assert_eq!(stores.projects.get(organization, full.id).await.unwrap(), Some(full.clone()));
    assert_eq!(stores.projects.by_name(organization, "web shop é").await.unwrap(), Some(full.clone()));
    assert_eq!(stores.projects.by_name(organization, "web").await.unwrap(), None);
    let stranger = OrganizationId::new();
    assert_eq!(stores.projects.get(stranger, full.id).await.unwrap(), None);
    assert_eq!(stores.projects.by_name(stranger, "web shop é").await.unwrap(), None);
    assert!(!stores.projects.delete(stranger, full.id).await.unwrap());
    assert!(stores.projects.delete(organization, full.id).await.unwrap());
    assert!(!stores.projects.delete(organization, full.id).await.unwrap());
    assert_eq!(stores.projects.get(organization, full.id).await.unwrap(), None);
}

pub async fn of_many_projects_of_one_name_one_is_stored(stores: Stores) {
    let organization = OrganizationId::new();
    let adding = (0..8).map(|_| {
        let stores = stores.clone();
        tokio::spawn(async move { stores.projects.add(&project(organization, "shop")).await.unwrap() })
    });
    let mut stored = 0;
    for added in adding.collect::<Vec<_>>() {
        stored += usize::from(added.await.unwrap());
    }
    assert_eq!(stored, 1);
    assert!(stores.projects.add(&project(OrganizationId::new(), "shop")).await.unwrap(), "another tenant's");
}

pub async fn of_many_changes_of_a_project_none_is_lost(stores: Stores) {
    let first = project(OrganizationId::new(), "shop");
    stores.projects.add(&first).await.unwrap();
    let late = first.next(at(3), |project| project.concurrency = Some(1));
    let setting = (0..8).map(|number| {
        let (stores, mut current) = (stores.clone(), first.clone());
        tokio::spawn(async move {
            loop {
                let next = current.next(at(2), |project| {
                    project.variables.insert(format!("V{number}"), "x".into());
                });
                match stores.projects.update(&next).await.unwrap() {
                    Changed::Updated => return,
                    Changed::Conflict(now) => current = now,
                    other => panic!("{other:?}"),
                }
            }
        })
    });
    for set in setting.collect::<Vec<_>>() {
        set.await.unwrap();
    }
    let now = stores.projects.get(first.organization, first.id).await.unwrap().unwrap();
    assert_eq!((now.variables.len(), now.version), (8, 9));
    assert_eq!(stores.projects.update(&late).await.unwrap(), Changed::Conflict(now));
    let unknown = project(first.organization, "other").next(at(2), |_| ());
    assert_eq!(stores.projects.update(&unknown).await.unwrap(), Changed::NotFound);
}

pub async fn projects_are_listed_newest_first_in_pages(stores: Stores) {
    let organization = OrganizationId::new();
    let mut projects = Vec::new();
    for number in 0..7 {
        let project = project(organization, &format!("p{number}"));
        stores.projects.add(&project).await.unwrap();
        projects.insert(0, project);
    }
    stores.projects.add(&project(OrganizationId::new(), "other")).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = stores.projects.list(organization, after, 3).await.unwrap();
        seen.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, projects);
}

pub async fn projects_with_duties_are_found(stores: Stores) {
    let mut sealed = Vec::new();
    for number in 0..5 {
        let plain = project(OrganizationId::new(), "shop");
        stores.projects.add(&plain).await.unwrap();
        if number % 2 == 0 {
            let next = sealing(&plain, "x");
            assert_eq!(stores.projects.update(&next).await.unwrap(), Changed::Updated);
            sealed.insert(0, next);
        }
    }
    let first = stores.projects.with_secrets(None, 2).await.unwrap();
    let found = |projects: &[Project]| projects.iter().cloned().map(Ok).collect::<Vec<_>>();
    assert_eq!(first.items, found(&sealed[..2]));
    let rest = stores.projects.with_secrets(first.next, 2).await.unwrap();
    assert_eq!((rest.items, rest.next), (found(&sealed[2..]), None));
    let emptied = sealed[0].next(at(3), |project| {
        project.secrets.clear();
        project.retention = Retention { days: None, runs: Some(1) };
    });
    assert_eq!(stores.projects.update(&emptied).await.unwrap(), Changed::Updated);
    assert_eq!(stores.projects.with_secrets(None, 9).await.unwrap().items, found(&sealed[1..]));
    assert_eq!(stores.projects.with_retention(None, 9).await.unwrap().items, [emptied]);
    assert_eq!(stores.projects.with_retention(Some(ProjectId::from_u128(0)), 9).await.unwrap().items, []);
}

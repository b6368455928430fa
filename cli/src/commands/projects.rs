//! `gantry projects`: named automations with their settings.

use std::io::Write as _;

use futures::TryStreamExt as _;
use gantry_api_types::project::{ChangeProject, CreateProject, Project, ProjectSummary};
use gantry_client::ApiClient;

use super::now;
use crate::args::{Output, ProjectSettings, ProjectsCommand};
use crate::failure::Failure;
use crate::terminal::table::{Rows, plain};
use crate::terminal::{facts, human, json};

pub async fn run(
    client: &ApiClient,
    output: Output,
    command: Option<ProjectsCommand>,
) -> Result<(), Failure> {
    match command {
        None => list(client, output).await,
        Some(ProjectsCommand::Show(name)) => show(output, &client.project(&name.project).await?),
        Some(ProjectsCommand::Create(settings)) => {
            let request = CreateProject { name: settings.project.clone(), ..CreateProject::default() };
            client.create_project(&request).await?;
            set(client, output, &settings).await
        }
        Some(ProjectsCommand::Set(settings)) => set(client, output, &settings).await,
        Some(ProjectsCommand::Delete(name)) => Ok(client.delete_project(&name.project).await?),
    }
}

/// What was said, on top of what the project says.
fn change(project: &Project, settings: &ProjectSettings) -> ChangeProject {
    let some = |number: u32| (number > 0).then_some(number);
    let mut change = ChangeProject {
        description: settings.description.clone().map(Some),
        concurrency: settings.concurrency.map(some),
        ..ChangeProject::default()
    };
    if let Some(image) = &settings.image {
        let mut defaults = project.defaults.clone();
        defaults.image = Some(image.clone());
        change.defaults = Some(Some(defaults));
    }
    if settings.keep_days.is_some() || settings.keep_runs.is_some() {
        let mut retention = project.retention.clone();
        retention.days = settings.keep_days.map_or(retention.days, some);
        retention.runs = settings.keep_runs.map_or(retention.runs, some);
        change.retention = Some(Some(retention));
    }
    match settings.allow_image.as_slice() {
        [] => {}
        [any] if any == "any" => change.images = Some(None),
        patterns => change.images = Some(Some(patterns.to_vec())),
    }
    change
}

async fn set(client: &ApiClient, output: Output, settings: &ProjectSettings) -> Result<(), Failure> {
    let name = &settings.project;
    let change = change(&client.project(name).await?, settings);
    if change != ChangeProject::default() {
        client.change_project(name, &change).await?;
    }
    for (variable, value) in &settings.env {
        client.set_variable(name, variable, value).await?;
    }
    show(output, &client.project(name).await?)
}

fn show(output: Output, project: &Project) -> Result<(), Failure> {
    if output == Output::Json {
        return json::print(project);
    }
    let number = |number: Option<u32>, none: &str| number.map_or(none.to_owned(), |n| n.to_string());
    let secrets: Vec<_> = project.secrets.iter().map(|secret| secret.name.as_str()).collect();
    let registries: Vec<_> = project.registries.iter().map(|login| login.registry.as_str()).collect();
    let images = match project.images.is_empty() {
        true => "any".to_owned(),
        false => project.images.join(", "),
    };
    let mut said = vec![
        ("project".to_owned(), project.name.clone()),
        ("id".to_owned(), project.id.clone()),
        ("description".to_owned(), project.description.clone()),
        ("image".to_owned(), project.defaults.image.clone().unwrap_or_default()),
        ("allowed images".to_owned(), images),
        ("runs at once".to_owned(), number(project.concurrency, "no limit")),
        ("ended runs kept".to_owned(), number(project.retention.runs, "all")),
        ("days kept".to_owned(), number(project.retention.days, "for ever")),
        ("secrets".to_owned(), secrets.join(", ")),
        ("registries".to_owned(), registries.join(", ")),
    ];
    said.extend(project.variables.iter().map(|(name, value)| (format!("variable {name}"), value.clone())));
    facts::print(said)
}

async fn list(client: &ApiClient, output: Output) -> Result<(), Failure> {
    let projects: Vec<ProjectSummary> = client.all_projects().try_collect().await?;
    if output == Output::Json {
        return json::print(&projects);
    }
    if projects.is_empty() {
        writeln!(
            anstream::stderr().lock(),
            "There are no projects yet: `gantry projects create NAME` makes one."
        )?;
        return Ok(());
    }
    let mut rows = Rows::new(&["project", "image", "variables", "secrets", "changed", "description"]);
    for project in &projects {
        rows.push(vec![
            plain(&project.name),
            plain(project.image.as_deref().unwrap_or_default()),
            plain(project.variables.to_string()),
            plain(project.secrets.to_string()),
            plain(human::ago(project.updated_at, now())),
            plain(&project.description),
        ]);
    }
    rows.print()
}

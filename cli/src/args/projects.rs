//! What can be said about projects and their secrets.

use clap::{Args, Subcommand};

/// Show projects, make and change them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry projects
  gantry projects create web-shop --image registry.example/shop-e2e:1.4
  gantry projects set web-shop --concurrency 3 --keep-days 30 -e BROWSER=firefox
  gantry projects show web-shop
  gantry run --project web-shop")]
pub struct ProjectsArgs {
    #[command(subcommand)]
    pub command: Option<ProjectsCommand>,
}

#[derive(Debug, Subcommand)]
pub enum ProjectsCommand {
    /// Show everything about a project
    #[command(after_help = "Example:\n  gantry projects show web-shop")]
    Show(ProjectName),
    /// Make a project
    #[command(
        after_help = "Example:\n  gantry projects create web-shop --image registry.example/shop-e2e:1.4"
    )]
    Create(ProjectSettings),
    /// Change a project; what is not said stays
    #[command(after_help = "\
Examples:
  gantry projects set web-shop --image registry.example/shop-e2e:1.5
  gantry projects set web-shop --allow-image 'registry.example/team/*' --concurrency 0")]
    Set(ProjectSettings),
    /// Delete a project with its variables and secrets; its runs stay
    #[command(after_help = "Example:\n  gantry projects delete web-shop")]
    Delete(ProjectName),
}

#[derive(Debug, Args)]
pub struct ProjectName {
    /// Its name, or its id (`prj_…`)
    pub project: String,
}

#[derive(Debug, Args)]
pub struct ProjectSettings {
    /// Its name; what runs name in --project
    pub project: String,
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// The image of runs that name none
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// How many of its runs may go on at once; 0 for no limit
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// Delete runs that ended longer ago, with all they left; 0 keeps them
    #[arg(long, value_name = "DAYS")]
    pub keep_days: Option<u32>,
    /// Delete all ended runs but so many; 0 keeps them
    #[arg(long, value_name = "N")]
    pub keep_runs: Option<u32>,
    /// An image that its runs may run, such as `registry.example/team/*`; may be given several times, `any` for any
    #[arg(long, value_name = "PATTERN")]
    pub allow_image: Vec<String>,
    /// A variable that all its runs get; may be given several times
    #[arg(long, short = 'e', value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Show the names of a project's secrets, set and delete them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry secrets list web-shop
  gantry secrets set web-shop SHOP_TOKEN < token.txt
  gantry secrets set-registry web-shop registry.example ann < password.txt

Values come from standard input, so that they stand in no history and no list of processes.")]
pub struct SecretsArgs {
    #[command(subcommand)]
    pub command: SecretsCommand,
}

#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// List names, who set them and when; nobody can see values
    #[command(after_help = "Example:\n  gantry secrets list web-shop")]
    List(ProjectName),
    /// Set a secret to what standard input says, but for a line end behind it
    #[command(after_help = "Example:\n  gantry secrets set web-shop SHOP_TOKEN < token.txt")]
    Set(SecretName),
    #[command(after_help = "Example:\n  gantry secrets delete web-shop SHOP_TOKEN")]
    /// Delete a secret
    Delete(SecretName),
    /// Set what pulling from a registry takes; the password comes from standard input
    #[command(
        after_help = "Example:\n  gantry secrets set-registry web-shop registry.example ann < password.txt"
    )]
    SetRegistry(RegistryUser),
    /// Delete what pulling from a registry takes
    #[command(after_help = "Example:\n  gantry secrets delete-registry web-shop registry.example")]
    DeleteRegistry(RegistryName),
}

#[derive(Debug, Args)]
pub struct SecretName {
    /// The project's name, or its id (`prj_…`)
    pub project: String,
    /// What the variable is called that containers get
    pub name: String,
}

#[derive(Debug, Args)]
pub struct RegistryName {
    /// The project's name, or its id (`prj_…`)
    pub project: String,
    /// As in images: `registry.example`, `registry.example:5000`, `docker.io`
    pub registry: String,
}

#[derive(Debug, Args)]
pub struct RegistryUser {
    #[command(flatten)]
    pub registry: RegistryName,
    pub username: String,
}

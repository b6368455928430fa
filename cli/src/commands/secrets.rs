//! `gantry secrets`: what goes into a project and never comes out. Values are read from standard input.

use std::io::{IsTerminal as _, Read as _, Write as _};

use gantry_api_types::project::{SetRegistry, SetSecret};
use gantry_client::ApiClient;

use super::now;
use crate::args::{Output, SecretsCommand};
use crate::failure::Failure;
use crate::terminal::table::{Rows, plain};
use crate::terminal::{human, json};

pub async fn run(client: &ApiClient, output: Output, command: SecretsCommand) -> Result<(), Failure> {
    match command {
        SecretsCommand::List(name) => return list(client, output, &name.project).await,
        SecretsCommand::Set(secret) => {
            let request = SetSecret { value: from_input()? };
            client.set_secret(&secret.project, &secret.name, &request).await?;
        }
        SecretsCommand::Delete(secret) => client.delete_secret(&secret.project, &secret.name).await?,
        SecretsCommand::SetRegistry(user) => {
            let request = SetRegistry { username: user.username, password: from_input()? };
            client.set_registry(&user.registry.project, &user.registry.registry, &request).await?;
        }
        SecretsCommand::DeleteRegistry(name) => client.delete_registry(&name.project, &name.registry).await?,
    }
    Ok(())
}

/// All of standard input, but for a line end behind it.
fn from_input() -> Result<String, Failure> {
    let mut input = std::io::stdin();
    if input.is_terminal() {
        writeln!(anstream::stderr().lock(), "Type or paste the value, then press Enter and Ctrl-D:")?;
    }
    let mut value = String::new();
    input
        .read_to_string(&mut value)
        .map_err(|error| Failure::usage(format!("Can't read the value: {error}.")))?;
    let kept = value.strip_suffix('\n').map(|value| value.strip_suffix('\r').unwrap_or(value));
    Ok(kept.unwrap_or(&value).to_owned())
}

async fn list(client: &ApiClient, output: Output, project: &str) -> Result<(), Failure> {
    let project = client.project(project).await?;
    if output == Output::Json {
        return json::print(&serde_json::json!({
            "secrets": project.secrets, "registries": project.registries,
        }));
    }
    if project.secrets.is_empty() && project.registries.is_empty() {
        writeln!(anstream::stderr().lock(), "{} has no secrets yet.", project.name)?;
        return Ok(());
    }
    let mut rows = Rows::new(&["secret", "for", "set", "by"]);
    for secret in &project.secrets {
        let ago = human::ago(secret.updated_at, now());
        rows.push(vec![plain(&secret.name), plain("runs"), plain(ago), plain(&secret.updated_by)]);
    }
    for login in &project.registries {
        let ago = human::ago(login.updated_at, now());
        let of = format!("pulling as {}", login.username);
        rows.push(vec![plain(&login.registry), plain(of), plain(ago), plain(&login.updated_by)]);
    }
    rows.print()
}

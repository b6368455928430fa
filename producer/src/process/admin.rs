//! What whoever operates the installation does with its accounts and organizations, from the producer's own command line: the
//! store is the authority, so no account of the API is needed for it, and none could be locked out of it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use gantry_domain::id::OrganizationId;
use gantry_domain::identity::{AuditAction, Email, OrganizationLimits, User};
use gantry_domain::run::Actor;
use gantry_domain::time::SystemClock;
use gantry_service_kit::shutdown::Shutdown;

use super::args::{LimitArgs, OrganizationCommand, UserCommand};
use super::config;
use crate::Producer;
use crate::backends;
use crate::error::ApiError;
use crate::services::identity::{audit, organizations, passwords, profile};
use crate::state::App;

fn told(error: ApiError) -> anyhow::Error {
    anyhow::anyhow!(error.detail)
}

/// Lets `work` do something with the store that is configured.
async fn with_app(
    file: Option<&Path>,
    work: impl AsyncFnOnce(&App) -> anyhow::Result<String>,
) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(file)?;
    let connected = backends::connect(&config.backends, Arc::new(SystemClock), config.store_patience).await?;
    let producer =
        Producer::new(config.producer, connected.parts.clone(), config.worker_tokens, None, Shutdown::new())
            .await?;
    let said = work(producer.app()).await;
    drop(producer);
    connected.close().await;
    writeln!(std::io::stdout().lock(), "{}", said?)?;
    Ok(ExitCode::SUCCESS)
}

pub async fn user(file: Option<&Path>, command: UserCommand) -> anyhow::Result<ExitCode> {
    with_app(file, async move |app| match command {
        UserCommand::Disable { email } => {
            let user = profile::set_disabled(app, find(app, &email).await?, true).await.map_err(told)?;
            Ok(format!("{} is disabled: sessions and keys end within five seconds", user.email))
        }
        UserCommand::Enable { email } => {
            let user = profile::set_disabled(app, find(app, &email).await?, false).await.map_err(told)?;
            Ok(format!("{} can sign in again", user.email))
        }
        UserCommand::ResetPassword { email } => {
            let user = find(app, &email).await?;
            let token = passwords::begin_reset(app, &user).await.map_err(told)?;
            let home = app.parts.stores.organizations.of_user(user.id).await?.first().map(|home| home.id);
            let entry = audit::by(app, Actor::System, home, AuditAction::PasswordForgotten).to(user.id);
            audit::write(app, entry.with("by", "the operator")).await;
            Ok(format!(
                "Good for an hour, once: POST /api/v1/auth/password/reset {{\"token\": \"{}\", \"password\": …}}",
                token.expose()
            ))
        }
    })
    .await
}

async fn find(app: &App, email: &str) -> anyhow::Result<User> {
    let email: Email = email.parse()?;
    let found = app.parts.stores.users.by_email(&email).await?;
    found.with_context(|| format!("nobody has the address {email}"))
}

pub async fn organization(file: Option<&Path>, command: OrganizationCommand) -> anyhow::Result<ExitCode> {
    let OrganizationCommand::Limit(wanted) = command;
    with_app(file, async move |app| {
        let id: OrganizationId = wanted.id.parse()?;
        let known = app.parts.stores.organizations.get(id).await?;
        let Some(known) = known else { bail!("there is no organization {id}") };
        let limits = merged(known.limits, &wanted);
        let after = organizations::limit(app, id, limits).await.map_err(told)?;
        Ok(format!("{} ({}): {}", after.id, after.name, shown(after.limits)))
    })
    .await
}

/// What is not named stays; 0 gives a limit back to the installation's configuration.
fn merged(known: OrganizationLimits, wanted: &LimitArgs) -> OrganizationLimits {
    fn pick<T: Copy + Default + PartialEq>(wanted: Option<T>, known: Option<T>) -> Option<T> {
        match wanted {
            None => known,
            Some(value) => Some(value).filter(|value| *value != T::default()),
        }
    }
    OrganizationLimits {
        api_per_minute: pick(wanted.api_per_minute, known.api_per_minute),
        run_creations_per_minute: pick(wanted.run_creations_per_minute, known.run_creations_per_minute),
        concurrent_runs: pick(wanted.concurrent_runs, known.concurrent_runs),
        queued_runs: pick(wanted.queued_runs, known.queued_runs),
        artifact_bytes: pick(wanted.artifact_bytes, known.artifact_bytes),
        log_bytes: pick(wanted.log_bytes, known.log_bytes),
    }
}

fn shown(limits: OrganizationLimits) -> String {
    let one = |name: &str, value: Option<u64>| {
        format!("{name} {}", value.map_or_else(|| "as configured".to_owned(), |value| value.to_string()))
    };
    [
        one("api-per-minute", limits.api_per_minute.map(u64::from)),
        one("run-creations-per-minute", limits.run_creations_per_minute.map(u64::from)),
        one("concurrent-runs", limits.concurrent_runs.map(u64::from)),
        one("queued-runs", limits.queued_runs.map(u64::from)),
        one("artifact-bytes", limits.artifact_bytes),
        one("log-bytes", limits.log_bytes),
    ]
    .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_and_nothing_gives_back() {
        let known = OrganizationLimits {
            concurrent_runs: Some(4),
            queued_runs: Some(9),
            ..OrganizationLimits::default()
        };
        let wanted = LimitArgs { concurrent_runs: Some(0), log_bytes: Some(7), ..LimitArgs::default() };
        let merged = merged(known, &wanted);
        assert_eq!((merged.concurrent_runs, merged.queued_runs, merged.log_bytes), (None, Some(9), Some(7)));
    }
}

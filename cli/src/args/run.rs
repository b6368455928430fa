//! `gantry run`: what is to be run, as a request.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use gantry_api_types::request::{CreateRun, Priority, Resources, Retries, RetryOn};

use super::units;

/// Run a command and follow it to its end
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  gantry run --image busybox:1.36 -- sh -c 'echo hi; exit 3'
  gantry run --image shop-e2e:1.4 -e BROWSER=firefox --timeout 10m -- npx playwright test
  gantry run --project web-shop --secret SHOP_TOKEN
  gantry run --detach --group nightly --label team=checkout --image shop-e2e:1.4

What the command prints comes out unchanged on stdout and stderr. The exit code is the run's own:
passed 0, timed out 124, cancelled 130, error 70. Ctrl-C cancels the run and waits for its end;
a second Ctrl-C leaves at once.")]
pub struct RunArgs {
    /// The container image
    #[arg(long, short, value_name = "IMAGE")]
    pub image: Option<String>,
    /// The automation this belongs to
    #[arg(long, short, value_name = "NAME")]
    pub project: Option<String>,
    /// A variable for the command; without a value it is taken from this environment
    #[arg(long = "env", short = 'e', value_name = "NAME[=VALUE]", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// A secret of the project, for the command as the variable of that name
    #[arg(long = "secret", value_name = "NAME")]
    pub secrets: Vec<String>,
    /// How long the command may take, such as 90s, 10m, 1h30m [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = units::seconds)]
    pub timeout: Option<u32>,
    /// A file, directory or pattern to collect [default: the usual report paths]
    #[arg(long = "artifact", value_name = "PATH")]
    pub artifacts: Vec<String>,
    /// Directory of this host to run in (process executor only)
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// Only create the run: print its number and id
    #[arg(long, short)]
    pub detach: bool,
    /// Only the command's output: no lines of Gantry's own
    #[arg(long, short, conflicts_with = "detach")]
    pub quiet: bool,
    /// Runs to show together
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// A label to find it by
    #[arg(long = "label", short = 'l', value_name = "KEY=VALUE", value_parser = units::pair)]
    pub labels: Vec<(String, String)>,
    /// What is tested, such as staging
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    /// The address of what is tested: BASE_URL in the run
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// Which part of the automation, for images with /app/entrypoint.sh
    #[arg(long, value_name = "PATH")]
    pub folder: Option<String>,
    /// The lane of workers [default: default]
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,
    /// Place among the waiting runs [default: normal]
    #[arg(long, value_enum, value_name = "low|normal|high|critical", hide_possible_values = true)]
    pub priority: Option<PriorityArg>,
    /// How often it may be tried again after an outcome in --retry-on [default: 0]
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// Which outcomes: failed, unstable, timed_out, error [default: failed,timed_out]
    #[arg(long, value_enum, value_name = "OUTCOME", value_delimiter = ',', hide_possible_values = true)]
    pub retry_on: Vec<RetryOnArg>,
    /// Pause before the first retry, doubling with each [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = units::seconds)]
    pub retry_backoff: Option<u32>,
    /// Never start it a second time, even when its worker is lost
    #[arg(long)]
    pub at_most_once: bool,
    /// Memory, such as 512m or 2g [default: 2g]
    #[arg(long, value_name = "SIZE", value_parser = units::memory)]
    pub memory: Option<u32>,
    /// Cores, such as 1.5 [default: 2]
    #[arg(long, value_name = "N", value_parser = units::cpus)]
    pub cpus: Option<f64>,
    /// Processes and threads [default: 512]
    #[arg(long, value_name = "N")]
    pub pids: Option<u32>,
    /// The same key within 24 hours gets the same run instead of a second one
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// The command and its arguments [default: the image's /app/entrypoint.sh]
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PriorityArg {
    Low,
    Normal,
    High,
    Critical,
}

impl From<PriorityArg> for Priority {
    fn from(priority: PriorityArg) -> Self {
        match priority {
            PriorityArg::Low => Self::Low,
            PriorityArg::Normal => Self::Normal,
            PriorityArg::High => Self::High,
            PriorityArg::Critical => Self::Critical,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum RetryOnArg {
    Failed,
    Unstable,
    TimedOut,
    Error,
}

impl From<RetryOnArg> for RetryOn {
    fn from(on: RetryOnArg) -> Self {
        match on {
            RetryOnArg::Failed => Self::Failed,
            RetryOnArg::Unstable => Self::Unstable,
            RetryOnArg::TimedOut => Self::TimedOut,
            RetryOnArg::Error => Self::Error,
        }
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    if text.contains('=') {
        return units::pair(text);
    }
    match std::env::var(text) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(_) => Err(format!("{text} is not set here: write {text}=VALUE, or export it first")),
    }
}

impl RunArgs {
    /// The request. A relative `workdir` counts from `here`.
    pub fn request(&self, here: &Path) -> CreateRun {
        let some = |items: &[String]| Some(items.to_vec()).filter(|items| !items.is_empty());
        CreateRun {
            project: self.project.clone(),
            image: self.image.clone(),
            command: some(&self.command),
            folder: self.folder.clone(),
            environment: self.environment.clone(),
            base_url: self.base_url.clone(),
            variables: self.variables.iter().cloned().collect::<BTreeMap<_, _>>(),
            secrets: self.secrets.clone(),
            group: self.group.clone(),
            labels: self.labels.iter().cloned().collect(),
            pool: self.pool.clone(),
            priority: self.priority.map(Into::into),
            timeout_seconds: self.timeout,
            retries: self.retries_asked(),
            at_most_once: self.at_most_once.then_some(true),
            resources: self.resources(),
            artifacts: some(&self.artifacts),
            workdir: self.workdir.as_ref().map(|dir| here.join(dir).to_string_lossy().into_owned()),
            ..CreateRun::default()
        }
    }

    fn retries_asked(&self) -> Option<Retries> {
        let on: BTreeSet<RetryOn> = self.retry_on.iter().map(|&on| on.into()).collect();
        let retries = Retries {
            max: self.retries,
            on: Some(on).filter(|on| !on.is_empty()),
            backoff_seconds: self.retry_backoff,
            max_lost: None,
        };
        Some(retries).filter(|retries| *retries != Retries::default())
    }

    fn resources(&self) -> Option<Resources> {
        let resources = Resources { cpus: self.cpus, memory_mb: self.memory, pids: self.pids };
        Some(resources).filter(|resources| *resources != Resources::default())
    }
}

//! Commands that list: which, and how many.

use std::time::Duration;

use clap::{Args, ValueEnum};
use gantry_api_types::run::{Status, TestStatus, TriggerKind};
use gantry_client::{RunFilter, TestFilter};
use gantry_domain::time::Timestamp;

use super::units;
use crate::run_name::RunName;

/// List runs, newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry runs
  gantry runs --status failed,timed_out --since 24h
  gantry runs --project web-shop --label team=checkout --output json | jq -r '.items[].id'")]
pub struct RunsArgs {
    /// pending, queued, running, analyzing, passed, failed, unstable, error, cancelled, timed_out; several with commas
    #[arg(
        long,
        short,
        value_enum,
        value_delimiter = ',',
        value_name = "STATUS",
        hide_possible_values = true
    )]
    pub status: Vec<StatusArg>,
    /// Of this project
    #[arg(long, short, value_name = "NAME")]
    pub project: Option<String>,
    /// Against this environment
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Of this group
    #[arg(long, short, value_name = "NAME")]
    pub group: Option<String>,
    /// What created it: api or rerun
    #[arg(long, value_enum, value_name = "KIND", hide_possible_values = true)]
    pub trigger: Option<TriggerArg>,
    /// A label that it has; several: all of them
    #[arg(long = "label", short = 'l', value_name = "KEY=VALUE", value_parser = units::pair)]
    pub labels: Vec<(String, String)>,
    /// Created within this time, such as 2h or 7d
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub since: Option<Duration>,
    /// Part of the id, number, image, command, project or group
    #[arg(long, short, value_name = "TEXT")]
    pub text: Option<String>,
    /// How many, newest first
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// Show a run's test results
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry tests 42
  gantry tests last --failed
  gantry tests 42 --output json | jq -r '.items[] | select(.status == \"failed\") | .name'")]
pub struct TestsArgs {
    /// Its number, its id, or `last`
    #[arg(default_value = "last")]
    pub run: RunName,
    /// Only what failed
    #[arg(long)]
    pub failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum StatusArg {
    Pending,
    Queued,
    Running,
    Analyzing,
    Passed,
    Failed,
    Unstable,
    Error,
    Cancelled,
    TimedOut,
}

impl From<StatusArg> for Status {
    fn from(status: StatusArg) -> Self {
        match status {
            StatusArg::Pending => Self::Pending,
            StatusArg::Queued => Self::Queued,
            StatusArg::Running => Self::Running,
            StatusArg::Analyzing => Self::Analyzing,
            StatusArg::Passed => Self::Passed,
            StatusArg::Failed => Self::Failed,
            StatusArg::Unstable => Self::Unstable,
            StatusArg::Error => Self::Error,
            StatusArg::Cancelled => Self::Cancelled,
            StatusArg::TimedOut => Self::TimedOut,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TriggerArg {
    Api,
    Rerun,
}

impl RunsArgs {
    pub fn filter(&self, now: Timestamp) -> RunFilter {
        RunFilter {
            statuses: self.status.iter().map(|&status| status.into()).collect(),
            project: self.project.clone(),
            environment: self.environment.clone(),
            group: self.group.clone(),
            trigger: self.trigger.map(|kind| match kind {
                TriggerArg::Api => TriggerKind::Api,
                TriggerArg::Rerun => TriggerKind::Rerun,
            }),
            labels: self.labels.clone(),
            created_from: self.since.map(|since| now - since),
            created_before: None,
            text: self.text.clone(),
            limit: Some(self.limit.min(100)),
            cursor: None,
        }
    }
}

impl TestsArgs {
    pub fn filter(&self) -> TestFilter {
        let statuses = if self.failed { vec![TestStatus::Failed] } else { Vec::new() };
        TestFilter { statuses, limit: Some(100), cursor: None }
    }
}

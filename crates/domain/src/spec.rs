//! What a run is asked to do. A [`RunSpec`] is complete (defaults filled in) and never changes once accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::run::Verdict;

/// A run's resolved specification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    pub project: Option<String>,
    /// Absent only where the `process` executor runs commands on the host.
    pub image: Option<String>,
    /// Program and arguments; without it the image's `/app/entrypoint.sh` is run with `folder`.
    pub command: Option<Vec<String>>,
    pub folder: Option<String>,
    pub environment: Option<String>,
    pub base_url: Option<String>,
    pub variables: BTreeMap<String, String>,
    /// Names only; values are resolved when a worker claims the run.
    pub secrets: Vec<String>,
    pub group: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub pool: Pool,
    pub priority: Priority,
    /// Bound on the command itself.
    pub timeout_seconds: u32,
    pub retries: RetryPolicy,
    /// Never started again once its start was acknowledged.
    pub at_most_once: bool,
    pub resources: Resources,
    #[serde(default)]
    pub network: Network,
    /// Paths and globs to collect, relative to the working directory or absolute.
    pub artifacts: Vec<String>,
    /// Host directory; `process` executor only.
    pub workdir: Option<String>,
}

impl RunSpec {
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.into())
    }

    /// Tries this run may take at most, lost ones included.
    pub fn max_attempts(&self) -> u32 {
        1 + self.retries.max + if self.at_most_once { 0 } else { self.retries.max_lost }
    }
}

/// Artifact paths that are collected when the request names none.
pub const DEFAULT_ARTIFACTS: [&str; 9] = [
    "allure-results",
    "allure-report",
    "playwright-report",
    "pytest-report",
    "mochawesome-report",
    "cypress/reports",
    "test-results",
    "junit.xml",
    "reports",
];

/// A named lane of workers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pool(String);

impl Pool {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text cannot name something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use 1 to 63 of a-z, 0-9, `-` and `_`, beginning with a letter or digit")]
pub struct ParseNameError;

impl FromStr for Pool {
    type Err = ParseNameError;
    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ok = (1..=63).contains(&text.len())
            && plain(text.as_bytes()[0])
            && text.bytes().all(|b| plain(b) || b == b'-' || b == b'_');
        if ok { Ok(Self(text.to_owned())) } else { Err(ParseNameError) }
    }
}

impl TryFrom<String> for Pool {
    type Error = ParseNameError;
    fn try_from(text: String) -> Result<Self, ParseNameError> {
        text.parse()
    }
}

impl From<Pool> for String {
    fn from(pool: Pool) -> Self {
        pool.0
    }
}

/// Order inside one organization; between organizations there is only fairness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
    Critical,
}

impl Priority {
    /// Higher goes first.
    pub fn rank(self) -> u8 {
        self as u8
    }
}

/// Which outcomes are tried again, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Retries for the outcomes in `on`.
    pub max: u32,
    pub on: BTreeSet<RetryOn>,
    /// Pause before the first retry; doubles with each, up to an hour.
    pub backoff_seconds: u32,
    /// Retries for lost leases, engine failures and hand-backs.
    pub max_lost: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max: 0,
            on: BTreeSet::from([RetryOn::Failed, RetryOn::TimedOut]),
            backoff_seconds: 10,
            max_lost: 2,
        }
    }
}

/// An outcome that a user may want tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    Failed,
    Unstable,
    TimedOut,
    Error,
}

impl RetryOn {
    pub fn covers(self, verdict: Verdict) -> bool {
        matches!(
            (self, verdict),
            (Self::Failed, Verdict::Failed)
                | (Self::Unstable, Verdict::Unstable)
                | (Self::TimedOut, Verdict::TimedOut)
                | (Self::Error, Verdict::Error)
        )
    }
}

/// What a run may use of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// Memory and swap together.
    pub memory_mb: u32,
    pub pids: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpu_millis: 2000, memory_mb: 2048, pids: 512 }
    }
}

/// What a run may talk to; never anything of Gantry's or of another run's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    #[default]
    Outside,
    /// Only itself.
    None,
}

/// One field that cannot be accepted, by JSON pointer into the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub pointer: String,
    pub message: String,
}

/// Bounds an installation sets on what may be asked for.
#[derive(Debug, Clone)]
pub struct SpecLimits {
    pub max_timeout_seconds: u32,
    pub max_cpu_millis: u32,
    pub max_memory_mb: u32,
    pub max_pids: u32,
}

impl Default for SpecLimits {
    fn default() -> Self {
        Self { max_timeout_seconds: 86_400, max_cpu_millis: 64_000, max_memory_mb: 262_144, max_pids: 32_768 }
    }
}

impl RunSpec {
    /// Everything that is wrong with this specification; empty when it can be accepted.
    pub fn violations(&self, limits: &SpecLimits) -> Vec<Violation> {
        let mut check = Check::default();
        check.text("/project", self.project.as_deref(), 100);
        check.text("/image", self.image.as_deref(), 512);
        if let Some(image) = &self.image
            && (image.bytes().any(|b| b.is_ascii_whitespace()) || image.starts_with('-') || !image.is_ascii())
        {
            check.refuse("/image", "an image reference looks like registry.example/name:tag");
        }
        if let Some(command) = &self.command {
            if command.first().is_none_or(String::is_empty) {
                check.refuse("/command", "name the program to run, or leave `command` out");
            }
            check.count("/command", command.len(), 1000);
            for (i, word) in command.iter().enumerate() {
                check.argument(&format!("/command/{i}"), word, 128 * 1024);
            }
            if command.iter().map(String::len).sum::<usize>() > 512 * 1024 {
                check.refuse("/command", "a command has at most 512 KiB");
            }
        }
        check.text("/folder", self.folder.as_deref(), 1024);
        check.text("/environment", self.environment.as_deref(), 100);
        check.text("/base_url", self.base_url.as_deref(), 2048);
        if let Some(url) = &self.base_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            check.refuse("/base_url", "begin with http:// or https://");
        }
        self.check_variables(&mut check);
        check.text("/group", self.group.as_deref(), 200);
        check.count("/labels", self.labels.len(), 64);
        for (key, value) in &self.labels {
            let pointer = format!("/labels/{}", escape(key));
            check.text(&pointer, Some(key), 100);
            if key.is_empty() {
                check.refuse(&pointer, "a label needs a name");
            }
            check.printable(&pointer, value, 255);
        }
        check.range("/timeout_seconds", self.timeout_seconds, 1, limits.max_timeout_seconds);
        check.range("/retries/max", self.retries.max, 0, 10);
        check.range("/retries/max_lost", self.retries.max_lost, 0, 10);
        check.range("/retries/backoff_seconds", self.retries.backoff_seconds, 0, 3600);
        check.range("/resources/pids", self.resources.pids, 8, limits.max_pids);
        check.range("/resources/memory_mb", self.resources.memory_mb, 16, limits.max_memory_mb);
        if !(10..=limits.max_cpu_millis).contains(&self.resources.cpu_millis) {
            let max = f64::from(limits.max_cpu_millis) / 1000.0;
            check.refuse("/resources/cpus", format!("give 0.01 to {max} cores"));
        }
        check.count("/artifacts", self.artifacts.len(), 100);
        for (i, path) in self.artifacts.iter().enumerate() {
            let pointer = format!("/artifacts/{i}");
            check.text(&pointer, Some(path), 1024);
            if path.is_empty() || path.split('/').any(|part| part == "..") {
                check.refuse(&pointer, "name a path or glob without `..`");
            }
        }
        check.text("/workdir", self.workdir.as_deref(), 4096);
        if self.workdir.as_ref().is_some_and(|dir| !dir.starts_with('/')) {
            check.refuse("/workdir", "give an absolute path");
        }
        check.violations
    }

    fn check_variables(&self, check: &mut Check) {
        check.count("/variables", self.variables.len(), 500);
        let mut bytes = 0;
        for (name, value) in &self.variables {
            let pointer = format!("/variables/{}", escape(name));
            check.variable_name(&pointer, name);
            check.argument(&pointer, value, 64 * 1024);
            bytes += name.len() + value.len();
        }
        if bytes > 512 * 1024 {
            check.refuse("/variables", "variables have at most 512 KiB together");
        }
        check.count("/secrets", self.secrets.len(), 100);
        for (i, name) in self.secrets.iter().enumerate() {
            check.variable_name(&format!("/secrets/{i}"), name);
        }
    }
}

/// A key as a token of a JSON pointer.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[derive(Default)]
struct Check {
    violations: Vec<Violation>,
}

impl Check {
    fn refuse(&mut self, pointer: &str, message: impl Into<String>) {
        self.violations.push(Violation { pointer: pointer.to_owned(), message: message.into() });
    }

    fn range(&mut self, pointer: &str, value: u32, min: u32, max: u32) {
        if !(min..=max).contains(&value) {
            self.refuse(pointer, format!("give {min} to {max}"));
        }
    }

    fn count(&mut self, pointer: &str, count: usize, max: usize) {
        if count > max {
            self.refuse(pointer, format!("at most {max}, not {count}"));
        }
    }

    /// A short text on one line, not empty when given.
    fn text(&mut self, pointer: &str, value: Option<&str>, max: usize) {
        if let Some(value) = value {
            if value.trim().is_empty() {
                self.refuse(pointer, "must not be empty: leave it out instead");
            }
            self.printable(pointer, value, max);
        }
    }

    fn printable(&mut self, pointer: &str, value: &str, max: usize) {
        if value.len() > max {
            self.refuse(pointer, format!("at most {max} bytes, not {}", value.len()));
        }
        if value.chars().any(char::is_control) {
            self.refuse(pointer, "control characters are not allowed");
        }
    }

    /// What the kernel can hand to a program: anything but NUL.
    fn argument(&mut self, pointer: &str, value: &str, max: usize) {
        if value.len() > max {
            self.refuse(pointer, format!("at most {max} bytes, not {}", value.len()));
        }
        if value.contains('\0') {
            self.refuse(pointer, "NUL bytes are not allowed");
        }
    }

    fn variable_name(&mut self, pointer: &str, name: &str) {
        let ok = (1..=255).contains(&name.len())
            && !name.as_bytes()[0].is_ascii_digit()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !ok {
            self.refuse(pointer, "a variable's name has letters, digits and `_`, and no digit in front");
        } else if name.starts_with("GANTRY_") {
            self.refuse(pointer, "names beginning with GANTRY_ are Gantry's own");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn spec() -> RunSpec {
        RunSpec {
            project: None,
            image: Some("busybox:1.36".into()),
            command: Some(vec!["true".into()]),
            folder: None,
            environment: None,
            base_url: None,
            variables: BTreeMap::new(),
            secrets: vec![],
            group: None,
            labels: BTreeMap::new(),
            pool: Pool::default(),
            priority: Priority::Normal,
            timeout_seconds: 60,
            retries: RetryPolicy::default(),
            at_most_once: false,
            resources: Resources::default(),
            network: Network::default(),
            artifacts: vec![],
            workdir: None,
        }
    }

    #[test]
    fn a_plain_specification_is_accepted() {
        assert_eq!(spec().violations(&SpecLimits::default()), vec![]);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let mut bad = spec();
        bad.image = Some("--pid=host".into());
        bad.command = Some(vec![]);
        bad.variables.insert("A=B".into(), "x".into());
        bad.variables.insert("GANTRY_RUN_ID".into(), "x".into());
        bad.variables.insert("NUL".into(), "a\0b".into());
        bad.labels.insert("a/b".into(), "x\r\ny".into());
        bad.timeout_seconds = 0;
        bad.retries.max = 11;
        bad.artifacts = vec!["../../etc".into()];
        bad.base_url = Some("ftp://x".into());
        let pointers: Vec<_> =
            bad.violations(&SpecLimits::default()).into_iter().map(|v| v.pointer).collect();
        assert_eq!(
            pointers,
            [
                "/image",
                "/command",
                "/base_url",
                "/variables/A=B",
                "/variables/GANTRY_RUN_ID",
                "/variables/NUL",
                "/labels/a~1b",
                "/timeout_seconds",
                "/retries/max",
                "/artifacts/0"
            ]
        );
    }

    #[test]
    fn a_pool_has_a_plain_name() {
        assert!("gpu-2".parse::<Pool>().is_ok());
        for bad in ["", "-x", "GPU", "a b", "é", &"x".repeat(64)] {
            assert!(bad.parse::<Pool>().is_err(), "{bad}");
        }
    }
}

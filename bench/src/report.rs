//! What a run of the benchmark leaves: the table for the person who started it, the figures as JSON, the page for everybody.

mod chart;
pub mod distributed;
mod embedded;
mod page;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use gantry_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::samples::Series;

/// Prints progress where it does not mix with the table.
#[expect(clippy::print_stderr, reason = "a bench talks to the person who started it")]
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// Everything measured on one commit.
#[derive(Serialize, Deserialize)]
pub struct Document {
    commit: String,
    /// By what was measured together: `embedded`, `distributed`. A later run replaces its own part only.
    parts: BTreeMap<String, Part>,
}

/// One run of the benchmark; figures of one part share their yardsticks.
#[derive(Serialize, Deserialize)]
struct Part {
    unix_time: u64,
    cores: usize,
    processor: String,
    rounds: u32,
    figures: Series,
}

impl Document {
    /// Of this commit, with what was measured on it before and is kept in `dir`.
    pub fn of_commit(dir: &Path) -> anyhow::Result<Self> {
        let commit = commit();
        let path = dir.join(format!("{commit}.json"));
        if path.exists() {
            return Self::read(&path);
        }
        Ok(Self { commit, parts: BTreeMap::new() })
    }

    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not a result", path.display()))
    }

    pub fn add(&mut self, part: &str, rounds: u32, figures: Series) -> anyhow::Result<()> {
        let part_of_now = Part {
            unix_time: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
            cores: std::thread::available_parallelism()?.get(),
            processor: processor(),
            rounds,
            figures,
        };
        self.parts.insert(part.to_owned(), part_of_now);
        Ok(())
    }

    /// Forgets the other parts: what is shown next is one part only.
    pub fn parts_only(&mut self, part: &str) {
        self.parts.retain(|name, _| name == part);
    }

    pub fn save(&self, dir: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join(format!("{}.json", self.commit));
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        say(&format!("written to {}", path.display()));
        Ok(())
    }

    /// Replaces the written part of a page of the documentation.
    pub fn write_page(&self, page: &Path) -> anyhow::Result<()> {
        page::write(page, self)
    }

    /// All tables, as Markdown.
    pub fn tables(&self) -> String {
        let mut text = String::new();
        for (name, part) in &self.parts {
            let distributed = name == "distributed";
            let title = if distributed { "Distributed" } else { "Embedded" };
            text.push_str(&format!("### {title}\n\n{}\n\n", part.about(&self.commit)));
            let (rows, yardsticks) = if distributed {
                (distributed::rows(&part.figures), &distributed::YARDSTICKS[..])
            } else {
                (embedded::rows(&part.figures), &embedded::YARDSTICKS[..])
            };
            let peers = if distributed { distributed::peers(&part.figures) } else { None };
            let yardsticks = table::yardsticks(yardsticks, &part.figures);
            for table in [table::budgets(&rows, &part.figures), Some(yardsticks), peers].into_iter().flatten()
            {
                text.push_str(&table);
                text.push_str("\n\n");
            }
        }
        text
    }
}

impl Part {
    fn about(&self, commit: &str) -> String {
        let seconds = i64::try_from(self.unix_time).unwrap_or(i64::MAX);
        let when = Timestamp::from_millis(seconds.saturating_mul(1000)).to_string();
        let day = when.split('T').next().unwrap_or_default().to_owned();
        let (rounds, cores, processor) = (self.rounds, self.cores, &self.processor);
        let mut text = format!(
            "Commit `{commit}`, {day}, {rounds} interleaved rounds on {cores} cores ({processor}); medians, ranges in parentheses."
        );
        for (what, note) in self.figures.notes() {
            text.push_str(&format!(" {what}: {note}."));
        }
        text
    }
}

/// With a mark when the sources differ from it.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    let sources = [
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        "*.rs",
        "*.toml",
        "Cargo.lock",
        "bench/peers",
    ];
    if git(&sources).is_empty() { commit } else { format!("{commit}-changed") }
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name.trim()).to_owned()
}

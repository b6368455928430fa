//! What lists are asked for, and how it stands in a URL.

use std::fmt::Write as _;

use gantry_api_types::run::{Status, TestStatus, TriggerKind};
use gantry_domain::time::Timestamp;

/// Which runs, and how many of them. What is not set does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    pub statuses: Vec<Status>,
    pub project: Option<String>,
    pub environment: Option<String>,
    pub group: Option<String>,
    pub trigger: Option<TriggerKind>,
    pub labels: Vec<(String, String)>,
    pub created_from: Option<Timestamp>,
    pub created_before: Option<Timestamp>,
    pub text: Option<String>,
    /// 1 to 100; 25 if absent.
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

/// Which test results.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestFilter {
    pub statuses: Vec<TestStatus>,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

/// Which log: the last attempt's output if nothing is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogQuery {
    pub attempt: Option<u32>,
    /// Gantry's own lines too.
    pub system: bool,
}

impl RunFilter {
    pub(crate) fn path(&self, path: &str) -> String {
        let labels =
            self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        Query::new(path)
            .some("status", &list(&self.statuses, |status| status.as_str()))
            .option("project", self.project.as_deref())
            .option("environment", self.environment.as_deref())
            .option("group", self.group.as_deref())
            .option("trigger", self.trigger.map(|kind| gantry_domain::run::TriggerKind::from(kind).as_str()))
            .some("label", &labels)
            .option("created_from", self.created_from.map(|time| time.to_string()).as_deref())
            .option("created_before", self.created_before.map(|time| time.to_string()).as_deref())
            .option("text", self.text.as_deref())
            .option("limit", self.limit.map(|limit| limit.to_string()).as_deref())
            .option("cursor", self.cursor.as_deref())
            .path
    }
}

impl TestFilter {
    pub(crate) fn path(&self, path: &str) -> String {
        Query::new(path)
            .some("status", &list(&self.statuses, |status| status.as_str()))
            .option("limit", self.limit.map(|limit| limit.to_string()).as_deref())
            .option("cursor", self.cursor.as_deref())
            .path
    }
}

impl LogQuery {
    pub(crate) fn path(self, path: &str) -> String {
        Query::new(path)
            .option("attempt", self.attempt.map(|attempt| attempt.to_string()).as_deref())
            .option("system", self.system.then_some("1"))
            .path
    }
}

fn list<T: Copy>(items: &[T], name: impl Fn(T) -> &'static str) -> String {
    items.iter().map(|&item| name(item)).collect::<Vec<_>>().join(",")
}

pub(crate) struct Query {
    pub(crate) path: String,
    separator: char,
}

impl Query {
    pub(crate) fn new(path: &str) -> Self {
        Self { path: path.to_owned(), separator: '?' }
    }

    pub(crate) fn option(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.path.push(self.separator);
            self.path.push_str(name);
            self.path.push('=');
            push_encoded(&mut self.path, value, b",");
            self.separator = '&';
        }
        self
    }

    /// A list that is left out when it is empty.
    fn some(self, name: &str, value: &str) -> Self {
        self.option(name, Some(value).filter(|value| !value.is_empty()))
    }
}

/// Segments of a path below `path`, encoded so that none of them can be taken for anything else.
pub(crate) fn below(path: &str, name: &str) -> String {
    let mut out = path.to_owned();
    for segment in name.split('/') {
        out.push('/');
        push_encoded(&mut out, segment, b"");
    }
    out
}

/// The path and one more segment, whatever it holds.
pub(crate) fn segment(path: &str, name: &str) -> String {
    let mut out = format!("{path}/");
    push_encoded(&mut out, name, b"");
    out
}

fn push_encoded(out: &mut String, text: &str, plain: &[u8]) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || plain.contains(&byte) {
            out.push(byte as char);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_stands_in_the_query() {
        let filter = RunFilter {
            statuses: vec![Status::Failed, Status::TimedOut],
            labels: vec![("team".into(), "a&b".into())],
            text: Some("ä b".into()),
            limit: Some(5),
            ..RunFilter::default()
        };
        assert_eq!(
            filter.path("/runs"),
            "/runs?status=failed,timed_out&label=team%3Da%26b&text=%C3%A4%20b&limit=5"
        );
        assert_eq!(RunFilter::default().path("/runs"), "/runs");
    }

    #[test]
    fn a_name_cannot_leave_its_path() {
        assert_eq!(below("/a", "x y/ü?#.html"), "/a/x%20y/%C3%BC%3F%23.html");
        assert_eq!(below("/a", "b%2fc"), "/a/b%252fc");
    }
}

//! What the elements of a report mean together: suites, a test case, and the outcomes inside it.

use gantry_domain::results::TestStatus;

use super::attributes::Attributes;
use crate::collector::Stated;
use crate::text::Gathered;

/// Extensions of files that hold tests; a class name that ends in one is a file.
const SOURCE_EXTENSIONS: [&str; 20] = [
    ".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs", ".py", ".rb", ".php", ".go", ".rs",
    ".java", ".kt", ".cs", ".feature", ".robot", ".vue", ".svelte",
];

#[derive(Debug)]
pub(super) struct Suite {
    name: String,
    file: Option<String>,
}

impl Suite {
    pub fn new(attributes: Attributes) -> Self {
        Self { name: attributes.name.unwrap_or_default(), file: attributes.file }
    }
}

/// What an element inside a test case says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutcomeKind {
    Failed,
    Skipped,
    /// A try that failed before the last one.
    EarlierTry,
}

impl OutcomeKind {
    pub fn of(element: &str) -> Option<Self> {
        Some(match element {
            "failure" | "error" => Self::Failed,
            "skipped" => Self::Skipped,
            "flakyFailure" | "flakyError" | "rerunFailure" | "rerunError" => Self::EarlierTry,
            _ => return None,
        })
    }
}

#[derive(Debug)]
pub(super) struct Outcome {
    kind: OutcomeKind,
    message: String,
    type_name: String,
    pub text: Gathered,
}

impl Outcome {
    pub fn new(kind: OutcomeKind, attributes: Attributes) -> Self {
        Self {
            kind,
            message: attributes.message.unwrap_or_default(),
            type_name: attributes.kind.unwrap_or_default(),
            text: Gathered::default(),
        }
    }

    /// The message first, because it is what a list shows, then the text, unless its first line says it anyway.
    fn message(&self) -> Option<String> {
        let (message, text) = (self.message.trim(), self.text.as_str().trim());
        Some(match (message.is_empty(), text.is_empty()) {
            (true, true) if self.type_name.is_empty() => return None,
            (true, true) => self.type_name.clone(),
            (true, false) => text.to_owned(),
            (false, true) => message.to_owned(),
            (false, false) if text.lines().next().is_some_and(|first| first.contains(message)) => {
                text.to_owned()
            }
            (false, false) => format!("{message}\n\n{text}"),
        })
    }

    /// The result for an error of a whole suite.
    pub fn of_suite(&self, suites: &[Suite]) -> Stated {
        let suite = innermost_name(suites);
        Stated {
            file: innermost_file(suites),
            suite: suite.to_owned(),
            name: "(suite)".to_owned(),
            status: TestStatus::Failed,
            duration_ms: 0.0,
            message: self.message(),
            retries: 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Case {
    attributes: Attributes,
    failed: Option<Option<String>>,
    skipped: Option<Option<String>>,
    earlier: Option<Option<String>>,
    earlier_tries: u32,
}

impl Case {
    pub fn new(attributes: Attributes) -> Self {
        let not_run = matches!(attributes.status.as_deref(), Some("notrun" | "skipped" | "disabled"))
            || matches!(attributes.result.as_deref(), Some("skipped" | "suppressed"));
        let skipped = not_run.then_some(None);
        Self { attributes, failed: None, skipped, earlier: None, earlier_tries: 0 }
    }

    /// Adds an outcome; of several of a kind the first explains the result.
    pub fn add(&mut self, outcome: Outcome) {
        let slot = match outcome.kind {
            OutcomeKind::Failed => &mut self.failed,
            OutcomeKind::Skipped => &mut self.skipped,
            OutcomeKind::EarlierTry => {
                self.earlier_tries = self.earlier_tries.saturating_add(1);
                &mut self.earlier
            }
        };
        if slot.as_ref().is_none_or(Option::is_none) {
            *slot = Some(outcome.message());
        }
    }

    pub fn stated(self, suites: &[Suite]) -> Stated {
        let (status, message) = match (self.failed, self.skipped, self.earlier) {
            (Some(message), _, _) => (TestStatus::Failed, message),
            (_, Some(message), _) => (TestStatus::Skipped, message),
            (_, _, Some(message)) => (TestStatus::Flaky, message),
            (None, None, None) => (TestStatus::Passed, None),
        };
        let duration_ms = self.attributes.duration_ms();
        let name = self.attributes.name.unwrap_or_default();
        let class = self.attributes.class.unwrap_or_default();
        let file = self.attributes.file.or_else(|| innermost_file(suites));
        let place = place(name, &class, suites);
        Stated {
            file: file.or(place.file),
            suite: place.suite,
            name: place.name,
            status,
            duration_ms,
            message,
            retries: self.earlier_tries,
        }
    }
}

struct Place {
    file: Option<String>,
    suite: String,
    name: String,
}

/// Where a test belongs. Usually its class name says it, but some tools put a file there (Playwright, Vitest: then the
/// name is the path of describe blocks), the title again (jest-junit, Mocha), or a constant (`node --test`).
fn place(name: String, class: &str, suites: &[Suite]) -> Place {
    let suite = innermost_name(suites);
    if is_source_file(class) {
        let split = [" › ", " > "].iter().find_map(|separator| name.rsplit_once(separator));
        let (suite, title) = split.map_or(("", name.as_str()), |(blocks, title)| (blocks, title));
        return Place { file: Some(class.to_owned()), suite: suite.to_owned(), name: title.to_owned() };
    }
    let title_again =
        name.strip_suffix(class).is_some_and(|before| before.is_empty() || before.ends_with(' '));
    let says_nothing = class == "test" || title_again && !suite.is_empty();
    let suite = if class.is_empty() || says_nothing { suite } else { class };
    Place { file: None, suite: suite.to_owned(), name }
}

fn is_source_file(class: &str) -> bool {
    SOURCE_EXTENSIONS.iter().any(|extension| class.ends_with(extension)) && !class.contains(' ')
}

fn innermost_name(suites: &[Suite]) -> &str {
    suites.iter().rev().map(|suite| suite.name.trim()).find(|name| !name.is_empty()).unwrap_or_default()
}

fn innermost_file(suites: &[Suite]) -> Option<String> {
    suites.iter().rev().find_map(|suite| suite.file.clone())
}

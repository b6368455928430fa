//! The walk through a report's nested suites. Results leave it as soon as a spec is read; what a suite says about itself
//! after its specs is added to them when it ends, so the order of a suite's keys doesn't matter.

use std::fmt;

use gantry_domain::results::{TestResult, TestStatus};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::spec::{Clipped, Name, Test, TryError};
use crate::collector::{Collector, SUITE_BYTES, Stated};
use crate::text::one_line;
use crate::{ReportError, ReportLimits};

pub(super) struct Walk<'l> {
    collector: Collector<'l>,
    /// Per result, how much of its suite is the project.
    heads: Vec<usize>,
    /// Why the walk was stopped by us; the parser only carries a text.
    pub refusal: Option<ReportError>,
    pub suites_seen: bool,
}

impl<'l> Walk<'l> {
    pub fn new(limits: &'l ReportLimits) -> Self {
        Self { collector: Collector::new(limits), heads: Vec::new(), refusal: None, suites_seen: false }
    }

    pub fn finish(self) -> Vec<TestResult> {
        self.collector.finish()
    }

    fn push(&mut self, stated: Stated) -> Result<(), ReportError> {
        self.collector.push(stated)?;
        self.heads.push(self.collector.suite(self.heads.len()).len());
        Ok(())
    }

    fn enclose(&mut self, from: usize, title: &str) -> Result<(), ReportError> {
        let title = one_line(title, SUITE_BYTES);
        if title.is_empty() {
            return Ok(());
        }
        (from..self.heads.len())
            .try_for_each(|index| self.collector.enclose(index, self.heads[index], &title))
    }

    /// Keeps `outcome`'s error for the caller and stops the parser.
    fn check<E: Error>(&mut self, outcome: Result<(), ReportError>) -> Result<(), E> {
        outcome.map_err(|refusal| {
            self.refusal = Some(refusal);
            E::custom("refused")
        })
    }
}

type Key = Clipped<64>;

/// The parser stops at 128 levels of JSON; a suite takes two of them, and a test's own parts ten.
const MAX_DEPTH: usize = 56;

pub(super) struct Report<'w, 'l>(pub &'w mut Walk<'l>);

impl<'de> DeserializeSeed<'de> for Report<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Report<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a report")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key>()? {
            match key.0.as_str() {
                "suites" => {
                    self.0.suites_seen = true;
                    map.next_value_seed(Each { walk: self.0, item: Item::Suite { depth: 0, file: "" } })?;
                }
                "errors" => map.next_value_seed(Each { walk: self.0, item: Item::ReportError })?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// What a list consists of.
#[derive(Clone, Copy)]
enum Item<'a> {
    Suite { depth: usize, file: &'a str },
    Spec { file: &'a str },
    ReportError,
}

/// Reads a list, one item after the other.
struct Each<'w, 'l, 'a> {
    walk: &'w mut Walk<'l>,
    item: Item<'a>,
}

impl<'de> DeserializeSeed<'de> for Each<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Each<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        loop {
            let walk = &mut *self.walk;
            let more = match self.item {
                Item::Suite { depth, file } => {
                    items.next_element_seed(Suite { walk, depth, file })?.is_some()
                }
                Item::Spec { file } => items.next_element_seed(Spec { walk, file })?.is_some(),
                Item::ReportError => match items.next_element::<TryError>()? {
                    Some(error) => {
                        let outcome = walk.push(outside_of_tests(error));
                        walk.check(outcome)?;
                        true
                    }
                    None => false,
                },
            };
            if !more {
                return Ok(());
            }
        }
    }
}

fn outside_of_tests(error: TryError) -> Stated {
    Stated {
        file: None,
        suite: String::new(),
        name: "(outside of any test)".to_owned(),
        status: TestStatus::Failed,
        duration_ms: 0.0,
        message: error.text(),
        retries: 0,
    }
}

struct Suite<'w, 'l, 'a> {
    walk: &'w mut Walk<'l>,
    depth: usize,
    /// The file of the suite around this one.
    file: &'a str,
}

impl<'de> DeserializeSeed<'de> for Suite<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let depth = self.walk.collector.limits().depth.min(MAX_DEPTH);
        if self.depth >= depth {
            self.walk.check(Err(ReportError::TooDeep { limit: depth }))?;
        }
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Suite<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a suite")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let first = self.walk.heads.len();
        let (mut title, mut file) = (Name::default(), self.file.to_owned());
        while let Some(key) = map.next_key::<Key>()? {
            let walk = &mut *self.walk;
            match key.0.as_str() {
                "title" => title = map.next_value()?,
                "file" => file = map.next_value::<Name>()?.0,
                "specs" => map.next_value_seed(Each { walk, item: Item::Spec { file: &file } })?,
                "suites" => {
                    let item = Item::Suite { depth: self.depth + 1, file: &file };
                    map.next_value_seed(Each { walk, item })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        // The outermost suite is the file, which results have beside their suite.
        if self.depth > 0 || (title.0 != file && !file.is_empty()) {
            let outcome = self.walk.enclose(first, &title.0);
            self.walk.check(outcome)?;
        }
        Ok(())
    }
}

struct Spec<'w, 'l, 'a> {
    walk: &'w mut Walk<'l>,
    file: &'a str,
}

impl<'de> DeserializeSeed<'de> for Spec<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Spec<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a spec")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut title, mut file) = (Name::default(), self.file.to_owned());
        // The file and the title may come after the tests. There are never more of these than results are allowed.
        let mut tests = Vec::new();
        while let Some(key) = map.next_key::<Key>()? {
            match key.0.as_str() {
                "title" => title = map.next_value()?,
                "file" => file = map.next_value::<Name>()?.0,
                "tests" => map.next_value_seed(Tests { walk: self.walk, tests: &mut tests })?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        for test in tests {
            let outcome = self.walk.push(stated(test, &title.0, &file));
            self.walk.check(outcome)?;
        }
        Ok(())
    }
}

struct Tests<'w, 'l, 't> {
    walk: &'w mut Walk<'l>,
    tests: &'t mut Vec<Test>,
}

impl<'de> DeserializeSeed<'de> for Tests<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Tests<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tests")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let limit = self.walk.collector.limits().results;
        while let Some(test) = items.next_element()? {
            if self.walk.collector.count() + self.tests.len() >= limit {
                self.walk.check(Err(ReportError::TooManyResults { limit }))?;
            }
            self.tests.push(test);
        }
        Ok(())
    }
}

fn stated(test: Test, title: &str, file: &str) -> Stated {
    let project = test.project_name.0.trim();
    Stated {
        file: Some(file.to_owned()).filter(|file| !file.is_empty()),
        suite: if project.is_empty() { String::new() } else { format!("[{project}]") },
        name: title.to_owned(),
        status: test.status(),
        duration_ms: test.duration_ms(),
        retries: test.retries(),
        message: test.into_message(),
    }
}

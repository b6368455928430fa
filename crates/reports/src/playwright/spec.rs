//! One test of a spec, folded while it is read: a million tries cost as much memory as one.

use std::fmt;

use gantry_domain::results::TestStatus;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::collector::NAME_BYTES;
use crate::text::prefix;

/// Colour codes are removed later, so somewhat more is taken than is kept.
const MESSAGE_BYTES: usize = 32 << 10;

/// A string of which at most `LIMIT` bytes are kept.
#[derive(Debug, Default)]
pub(super) struct Clipped<const LIMIT: usize>(pub String);

pub(super) type Name = Clipped<{ NAME_BYTES * 2 }>;
type Message = Clipped<MESSAGE_BYTES>;

impl<'de, const LIMIT: usize> Deserialize<'de> for Clipped<LIMIT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Clip<const LIMIT: usize>;
        impl<const LIMIT: usize> Visitor<'_> for Clip<LIMIT> {
            type Value = Clipped<LIMIT>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Clipped(prefix(text, LIMIT).to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Clipped::default())
            }
        }
        deserializer.deserialize_any(Clip)
    }
}

/// Hands each item of a sequence to `fold` and keeps none.
pub(super) fn each<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
    fold: impl FnMut(T),
) -> Result<(), D::Error> {
    struct Each<T, F>(F, std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<T, F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
            while let Some(item) = items.next_element()? {
                (self.0)(item);
            }
            Ok(())
        }
    }
    deserializer.deserialize_seq(Each(fold, std::marker::PhantomData))
}

/// A spec in one project.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Test {
    pub project_name: Name,
    status: Name,
    annotations: Annotations,
    results: Tries,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Try {
    status: Name,
    duration: f64,
    error: Option<TryError>,
    errors: Errors,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TryError {
    message: Option<Message>,
    /// What was thrown, when it was not an `Error`.
    value: Option<Message>,
}

impl TryError {
    pub fn text(self) -> Option<String> {
        self.message.or(self.value).map(|message| message.0).filter(|text| !text.trim().is_empty())
    }
}

/// The first error of a list.
#[derive(Debug, Default)]
struct Errors(Option<String>);

impl<'de> Deserialize<'de> for Errors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut first = None;
        each(deserializer, |error: TryError| {
            if first.is_none() {
                first = error.text();
            }
        })?;
        Ok(Self(first))
    }
}

/// All tries of a test in a project, in order.
#[derive(Debug, Default)]
struct Tries {
    count: u32,
    last_status: String,
    last_duration: f64,
    /// Of the latest try that has one.
    message: Option<String>,
}

impl<'de> Deserialize<'de> for Tries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut tries = Self::default();
        each(deserializer, |attempt: Try| {
            tries.count = tries.count.saturating_add(1);
            let error = attempt.error.and_then(TryError::text).or(attempt.errors.0);
            if error.is_some() {
                tries.message = error;
            }
            tries.last_status = attempt.status.0;
            tries.last_duration = attempt.duration;
        })?;
        Ok(tries)
    }
}

/// Why a test was skipped, if an annotation says so.
#[derive(Debug, Default)]
struct Annotations(Option<String>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Annotation {
            #[serde(default, rename = "type")]
            kind: Name,
            #[serde(default)]
            description: Option<Message>,
        }
        let mut reason = None;
        each(deserializer, |annotation: Annotation| {
            if reason.is_none() && matches!(annotation.kind.0.as_str(), "skip" | "fixme") {
                reason = annotation.description.map(|description| description.0);
            }
        })?;
        Ok(Self(reason))
    }
}

impl Test {
    /// Playwright's own verdict; without one, the last try's.
    pub fn status(&self) -> TestStatus {
        match (self.status.0.as_str(), self.results.last_status.as_str()) {
            ("expected", _) => TestStatus::Passed,
            ("flaky", _) => TestStatus::Flaky,
            ("skipped", _) => TestStatus::Skipped,
            ("unexpected", _) => TestStatus::Failed,
            (_, "passed") if self.retries() > 0 => TestStatus::Flaky,
            (_, "passed") => TestStatus::Passed,
            (_, "skipped" | "") => TestStatus::Skipped,
            _ => TestStatus::Failed,
        }
    }

    pub fn retries(&self) -> u32 {
        self.results.count.saturating_sub(1)
    }

    pub fn duration_ms(&self) -> f64 {
        self.results.last_duration
    }

    pub fn into_message(self) -> Option<String> {
        match self.status() {
            TestStatus::Skipped => self.annotations.0,
            TestStatus::Failed if self.results.message.is_none() => match self.results.last_status.as_str() {
                "" => None,
                status => Some(format!("the test ended as {status}")),
            },
            _ => self.results.message,
        }
    }
}

//! Why a run ended as it did: a closed set of codes, each with a sentence that says what to do next.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::run::Actor;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $hint:literal;)*) => {
        /// Every reason a run can end for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ReasonCode {
            $($(#[$doc])* $name,)*
        }

        impl ReasonCode {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable name used on the wire and in the store.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the user can do next.
            pub fn hint(self) -> &'static str {
                match self { $(Self::$name => $hint,)* }
            }
        }
    };
}

codes! {
    Completed = "completed", "Nothing to do.";
    /// The command succeeded although its report has failed tests.
    TestsFailed = "tests_failed", "Open the failed tests; if they should fail the run, let the command exit with a code other than 0.";
    /// It passed only after a retry.
    PassedAfterRetry = "passed_after_retry", "Look at the tests or attempts that failed at first: they are flaky.";
    ExitCode = "exit_code", "Open the log at the first error.";
    OutOfMemory = "out_of_memory", "Raise resources.memory_mb, or let the command use less memory.";
    /// SIGKILL from somewhere else.
    Killed = "killed", "Somebody or something outside Gantry killed it: look at the worker's host, then rerun.";
    Timeout = "timeout", "Raise timeout_seconds, or open the log to see where it hangs.";
    QueueTimeout = "queue_timeout", "No worker took it in time: start workers for its pool, or raise the queue time limit.";
    Cancelled = "cancelled", "Rerun it when you want its result after all.";
    BadCommand = "bad_command", "Check that the program exists in the image, is executable, and is spelled as in `command`.";
    ImageNotFound = "image_not_found", "Check the image's name and tag, and that it has been pushed.";
    ImageDenied = "image_denied", "Give Gantry credentials for this registry, or use an image it may pull.";
    RegistryUnreachable = "registry_unreachable", "Check that the worker reaches the registry, then rerun.";
    /// A secret that the run names is not there any more.
    SecretMissing = "secret_missing", "Set the secret in the run's project, then rerun.";
    Infrastructure = "infrastructure", "Look at the worker's engine and disk, then rerun.";
    Lost = "lost", "Its workers went away while it ran: check whether the run exhausts its worker, then rerun.";
}

/// A code, with the sentence that fits this run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub code: ReasonCode,
    pub message: String,
}

impl Reason {
    pub fn new(code: ReasonCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn hint(&self) -> &'static str {
        self.code.hint()
    }

    pub fn cancelled(by: Actor) -> Self {
        Self::new(ReasonCode::Cancelled, format!("Cancelled by {by}."))
    }

    pub fn queue_timeout(limit: Duration) -> Self {
        Self::new(
            ReasonCode::QueueTimeout,
            format!("It waited longer than its limit of {} s.", limit.as_secs()),
        )
    }

    pub fn lost(attempts: u32, at_most_once: bool) -> Self {
        let message = if at_most_once {
            "Its worker went away, and it may not be started twice.".to_owned()
        } else {
            format!("Its worker went away in each of {attempts} attempts.")
        };
        Self::new(ReasonCode::Lost, message)
    }
}

//! How a command fails: one sentence, what to do next, and an exit code that scripts can rely on.

use std::io::{self, Write as _};
use std::process::ExitCode;

use gantry_api_types::problem::{Problem, ProblemCode};
use gantry_client::{ClientError, TransportError};

use crate::connection::nobody_answers;
use crate::terminal::style::{BOLD, RED, RESET};
use crate::terminal::text;

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
/// `EX_UNAVAILABLE` of sysexits.h.
const UNAVAILABLE: u8 = 69;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    Told(Told),
    /// Whoever read our output has gone: nothing to say, nobody to say it to.
    NobodyReads,
}

#[derive(Debug)]
pub struct Told {
    message: String,
    hints: Vec<String>,
    exit: u8,
}

impl Failure {
    fn told(exit: u8, message: impl Into<String>) -> Self {
        Self::Told(Told { message: message.into(), hints: Vec::new(), exit })
    }

    /// The server, or a rule of ours, says no.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::told(REFUSED, message)
    }

    /// It was asked for in a way that cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::told(USAGE, message)
    }

    /// There is no server, or it cannot work now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::told(UNAVAILABLE, message)
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Told(told) = &mut self {
            told.hints.push(hint.into());
        }
        self
    }

    /// Says it on stderr.
    pub fn report(self) -> ExitCode {
        let Self::Told(told) = self else { return ExitCode::SUCCESS };
        let mut out = anstream::stderr().lock();
        // Where stderr is gone, the exit code has to do.
        let _ = writeln!(out, "{RED}{BOLD}error:{RESET} {}", text::lines(&told.message));
        for hint in &told.hints {
            let _ = writeln!(out, "{BOLD}hint:{RESET} {}", text::lines(hint));
        }
        ExitCode::from(told.exit)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Problem { problem, .. } => of_problem(*problem),
            ClientError::Transport(TransportError::Connect { address, reason }) => {
                // The number says nothing that the words don't.
                let reason = reason.split(" (os error").next().unwrap_or_default();
                nobody_answers(&format!("No Gantry answers at {address} ({reason})."))
            }
            ClientError::Transport(error) => {
                Self::unavailable(format!("The server did not answer: {error}.")).hint("Try again in a moment.")
            }
            ClientError::Protocol { .. } if error.is_retryable() => {
                Self::unavailable(format!("The server cannot be reached: {error}.")).hint("Try again in a moment.")
            }
            ClientError::Protocol { message, .. } => Self::refused(message)
                .hint("Check that the URL leads to a Gantry server, and that `gantry version` shows matching versions."),
        }
    }
}

fn of_problem(problem: Problem) -> Failure {
    let exit = match problem.code {
        ProblemCode::Unavailable => UNAVAILABLE,
        _ => REFUSED,
    };
    let fields: Vec<String> =
        problem.errors.iter().map(|field| format!("{}: {}", field.pointer, field.message)).collect();
    let news = fields.into_iter().filter(|field| !problem.detail.contains(field.as_str()));
    let failure = news.fold(Failure::told(exit, problem.detail.as_str()), Failure::hint);
    match problem.code {
        ProblemCode::Unauthorized => failure
            .hint("Sign in with `gantry login`, or set GANTRY_API_KEY to a key of this server; on the machine of `gantry up` leave it and GANTRY_URL unset."),
        ProblemCode::Unavailable => failure.hint("Try again in a moment."),
        ProblemCode::Internal => failure.hint(format!("Its log says more about request {}.", problem.request_id)),
        _ => failure,
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::refused(error.to_string()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::refused(format!("{error:#}"))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        // Only writing gets here, and `io::Error` is what writing fails with.
        io::Error::from(error).into()
    }
}

//! What every way of sending mail can do.

use std::fmt;

use async_trait::async_trait;

use crate::line::Line;
use crate::message::Mail;

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// This message will never be taken: its recipient is unknown, its content refused.
    #[error("refused for good: {0}")]
    Refused(Line),
    /// The server, or the way to it, is not in order, or asked for patience. Trying again later may help.
    #[error("not taken now: {0}")]
    Unavailable(Line),
}

impl SendError {
    pub(crate) fn refused(reason: impl fmt::Display) -> Self {
        Self::Refused(Line::new(&reason.to_string()))
    }

    pub(crate) fn unavailable(reason: impl fmt::Display) -> Self {
        Self::Unavailable(Line::new(&reason.to_string()))
    }

    /// Whether the same message may be taken later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Sends mail. Calls may run at the same time. One that is given up half-way may have been sent; sending a message again sends
/// the same `Message-ID`, so that a reader's program shows it once.
#[async_trait]
pub trait Mailer: Send + Sync + fmt::Debug {
    /// Returns when the next server, file or console has taken the message. Bounded in time.
    async fn send(&self, mail: &Mail) -> Result<(), SendError>;
}

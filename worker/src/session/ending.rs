//! How a session ends, and how far it came. What others say is kept short here: it goes into the log.

use std::error::Error;

use lookbehind_common::text::brief;
use lookbehind_identity::Refusal;
use lookbehind_proto::v1;
use tonic::{Code, Status};

use super::transfer::said;

/// Most characters of a text of the other side.
pub(super) const MAX_WORDS: usize = 1000;

/// How a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The worker was asked to stop.
    Shutdown,
    /// The coordinator refuses this worker.
    Refused { reason: String, retryable: bool },
    /// The coordinator does not accept this worker's credentials.
    Unaccepted { reason: String },
    /// The device is lost to this process.
    DeviceLost { reason: String },
    /// There is no connection, it was closed, or nothing was received on it for too long.
    Lost { reason: String },
}

/// How far a session came before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// It was not registered.
    Nothing,
    /// It was registered.
    Registered,
    /// It delivered something, or lasted.
    Worked,
}

impl Ended {
    /// The connection is lost.
    pub(super) fn lost(reason: &str) -> Self {
        Self::Lost { reason: brief(reason, MAX_WORDS).into_owned() }
    }

    /// The coordinator refuses this worker in a message.
    pub(super) fn refused(refused: &v1::Refused) -> Self {
        let reason = brief(&refused.reason, MAX_WORDS).into_owned();
        Self::Refused { reason, retryable: refused.retryable }
    }

    /// There is no connection.
    pub(super) fn unreachable(error: impl Error + 'static) -> Self {
        match Refusal::of(&error) {
            Some(refusal @ Refusal::Credentials(_)) => Self::unaccepted(&refusal.to_string()),
            Some(refusal) => Self::lost(&refusal.to_string()),
            None => Self::lost(&chain(&error)),
        }
    }

    /// A call was answered with an error.
    pub(super) fn answered(status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Self::unaccepted(status.message()),
            _ => match Refusal::of(&status) {
                Some(refusal) => Self::lost(&refusal.to_string()),
                None => Self::Lost { reason: said(&status) },
            },
        }
    }

    fn unaccepted(reason: &str) -> Self {
        Self::Unaccepted { reason: brief(reason, MAX_WORDS).into_owned() }
    }
}

/// An error with all its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;

//! The caller that waits for a segment, and why the segment may not be computed.

use lookbehind_common::reduction::MissingShard;

use super::ComputeError;
use crate::data::Cancellation;

/// The caller that waits for a segment: it is notified of progress, and asked whether the segment is still wanted. The
/// threads of a backend share one.
pub trait Watch: Send + Sync {
    /// A part of the request is done.
    fn advance(&self);

    /// Whether a newer request has superseded it, so that it need not be finished. Asked while shards are computed, on
    /// all threads and often.
    fn is_superseded(&self) -> bool;
}

/// A caller that is never superseded and ignores progress: for measurements and tests.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn advance(&self) {}

    fn is_superseded(&self) -> bool {
        false
    }
}

/// The caller that waits for a job to be loaded.
impl Watch for Cancellation {
    fn advance(&self) {}

    fn is_superseded(&self) -> bool {
        self.is_cancelled()
    }
}

/// Why a segment was not computed.
#[derive(Debug)]
pub enum Stopped {
    /// A newer request has superseded it.
    Superseded,
    /// It cannot be computed.
    Failed(ComputeError),
}

impl Stopped {
    /// The error of a segment that nothing can supersede.
    pub(crate) fn into_failure(self) -> ComputeError {
        match self {
            Self::Failed(error) => error,
            Self::Superseded => ComputeError::Internal("superseded, with nothing that supersedes".to_owned()),
        }
    }
}

impl From<ComputeError> for Stopped {
    fn from(error: ComputeError) -> Self {
        Self::Failed(error)
    }
}

impl From<MissingShard> for Stopped {
    fn from(error: MissingShard) -> Self {
        Self::Failed(ComputeError::Internal(error.to_string()))
    }
}

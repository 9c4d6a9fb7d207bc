//! Who waits for a segment, and why it may not come.

use lookbehind_common::reduction::MissingShard;

use super::ComputeError;

/// Who waits for a segment: told that it advances, and asked whether it is still wanted. Threads of a backend share one.
pub trait Watch: Send + Sync {
    /// A part of the work is done.
    fn advance(&self);

    /// Whether newer work has superseded it, so that it need not be finished.
    fn is_superseded(&self) -> bool;
}

/// No coordinator waits: for measurements and tests.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn advance(&self) {}

    fn is_superseded(&self) -> bool {
        false
    }
}

/// Why a segment was not computed.
#[derive(Debug)]
pub enum Stopped {
    /// Newer work has superseded it.
    Superseded,
    /// It cannot be computed.
    Failed(ComputeError),
}

impl Stopped {
    /// Why a segment that nothing supersedes was not computed.
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

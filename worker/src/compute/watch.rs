//! Who waits for a node, and why it may not come.

use lookbehind_common::reduction::MissingShard;

use super::ComputeError;

/// Who waits for a node.
pub trait Watch: Send + Sync {
    /// A part of the work is done.
    fn advance(&self);

    /// Whether newer work has overtaken it, so that it need not be finished.
    fn is_overtaken(&self) -> bool;
}

/// Nobody waits: for work beside any coordinator.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn advance(&self) {}

    fn is_overtaken(&self) -> bool {
        false
    }
}

/// Why a node was not computed.
#[derive(Debug)]
pub enum Stopped {
    /// Newer work has overtaken it.
    Overtaken,
    /// It cannot be computed.
    Failed(ComputeError),
}

impl From<ComputeError> for Stopped {
    fn from(error: ComputeError) -> Self {
        Self::Failed(error)
    }
}

impl From<MissingShard> for Stopped {
    fn from(error: MissingShard) -> Self {
        Self::Failed(ComputeError::Other(error.to_string()))
    }
}

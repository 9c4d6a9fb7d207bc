//! The job in memory.

use lookbehind_common::ids::{FencingToken, JobId};
use lookbehind_common::job::Precision;

use crate::compute::PreparedJob;

/// A job in memory.
pub(super) struct Loaded {
    pub(super) id: JobId,
    /// Its encoded specification: the same job prepared again need not be loaded again.
    pub(super) spec: Vec<u8>,
    pub(super) precision: Precision,
    pub(super) job: Box<dyn PreparedJob>,
    /// The weights that it holds; `None` as long as they are not known to be whole.
    pub(super) weights: Option<Version>,
}

/// A version of a job's weights. A coordinator that was restarted counts versions anew: they mean something within a
/// session only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) session: FencingToken,
    pub(super) number: u64,
}

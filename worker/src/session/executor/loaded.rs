//! The loaded job.

use lookbehind_common::ids::{FencingToken, JobId};
use lookbehind_common::job::{ExchangeFormat, OptimizerSpec, Precision};

use crate::compute::PreparedJob;

pub(super) struct Loaded {
    pub(super) id: JobId,
    /// Its encoded specification: if the same job is prepared again, it is not loaded again.
    pub(super) spec: Vec<u8>,
    pub(super) precision: Precision,
    /// Format in which its gradients are added and sent.
    pub(super) exchange: ExchangeFormat,
    pub(super) optimizer: OptimizerSpec,
    pub(super) job: Box<dyn PreparedJob>,
    /// The weights that it holds; `None` while they are absent or possibly incomplete.
    pub(super) weights: Option<Version>,
}

/// A version of a job's weights. A restarted coordinator counts versions from the beginning, so they are only
/// meaningful within a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) session: FencingToken,
    pub(super) number: u64,
}

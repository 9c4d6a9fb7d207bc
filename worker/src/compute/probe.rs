//! The probe: gradients that distinguish workers of different compute classes, whatever backend computes them.

use std::ops::Range;

use lookbehind_common::digest::Digest;
use lookbehind_common::partial::{Partial, Sums};

use super::Request;
use super::samples::Samples;

/// What the probe computes, at keyed probe weights.
pub(super) struct ProbeRequests {
    /// One shard of each size that the job has: a library may choose another algorithm for another size.
    pub(super) shards: Vec<(Request, u32)>,
    /// Samples of the test split, which are computed without gradients; `None` if the split is empty.
    pub(super) test: Option<Range<u64>>,
}

impl ProbeRequests {
    pub(super) fn new(samples: &Samples) -> Self {
        let test = samples.test_probe();
        Self { shards: samples.sampler.shard_sizes(), test: (!test.is_empty()).then_some(test) }
    }
}

/// Digest of the results of the probe's requests, in their order.
pub(super) fn probe_digest(partials: &[Partial], test: Option<&Sums>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for partial in partials {
        hasher.update(partial.gradient.as_bytes());
        hasher.update(partial.statistics.as_bytes());
        hasher.update(&partial.sums.loss.to_le_bytes());
    }
    if let Some(test) = test {
        hasher.update(&test.loss.to_le_bytes());
    }
    Digest(*hasher.finalize().as_bytes())
}

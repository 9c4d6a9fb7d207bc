//! From shards to a segment of the reduction tree.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::{Segment, reduce};

use super::{ComputeError, PreparedJob, Request, Rounding, Stopped, Unwatched, Watch};

/// The canonical sum of a segment's partials, whose gradients are rounded as `rounding` says. `shards` computes those of a range of adjacent shards, in their order; it
/// is called for `group` of them at a time, and for the rest at the segment's end. The group decides what is computed
/// in parallel, never the order of additions.
///
/// # Errors
/// Those of `shards` and of [`Rounding::round`], and [`Stopped::Superseded`] if a newer request supersedes the segment.
pub fn reduce_shards(
    segment: Segment,
    group: usize,
    rounding: &Rounding,
    watch: &dyn Watch,
    mut shards: impl FnMut(Range<u32>) -> Result<Vec<Partial>, Stopped>,
) -> Result<Partial, Stopped> {
    let mut computed: VecDeque<Partial> = VecDeque::new();
    reduce::<Stopped>(segment, rounding.format(), &mut |part: Segment| {
        if part.len() > 1 {
            return Ok(None);
        }
        if computed.is_empty() {
            if watch.is_superseded() {
                return Err(Stopped::Superseded);
            }
            let left = (segment.end - part.first) as usize;
            let asked = part.first..part.first + group.clamp(1, left) as u32;
            computed = shards(asked.clone())?.into();
            // Partials carry no shard number: with one too many or too few, later ones would be added as another
            // shard's.
            if computed.len() != asked.len() {
                let problem = format!("{} partials of the shards {asked:?}", computed.len());
                return Err(ComputeError::Internal(problem).into());
            }
            for (shard, partial) in asked.zip(&mut computed) {
                rounding.round(shard, partial)?;
            }
        }
        Ok(computed.pop_front())
    })
}

/// Computes a segment for which no coordinator waits: for measurements and comparisons.
///
/// # Errors
/// As for [`PreparedJob::segment`].
pub fn compute_unwatched(
    job: &mut dyn PreparedJob,
    request: &Request,
    segment: Segment,
) -> Result<Partial, ComputeError> {
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    job.segment(request, segment, &watch).map_err(Stopped::into_failure)
}

#[cfg(test)]
mod tests;

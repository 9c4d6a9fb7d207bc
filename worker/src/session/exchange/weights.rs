//! Gets the weights of a round from several sides at once: what this worker owns from the coordinator, the rest from the
//! other workers. Blocks are read into their places in the flat buffers.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use lookbehind_common::blocks::{BlockDigest, BlockRange, Blocks};
use lookbehind_common::flat_buffer::{bytes_mut, shared_bytes};
use lookbehind_common::ids::SessionId;
use lookbehind_common::layout::TensorKind;
use lookbehind_common::model_state::{ModelState, Weights};
use lookbehind_proto::transfer::blocks::{Block, BlockReader};
use lookbehind_telemetry::metrics::Direction;
use tonic::{Code, Status};

use super::peers::{Fetch, Sink, Wanted, failed, share};
use super::round::{Means, Round};
use crate::session::transfer::said;

/// A block is late after this many times what all blocks took the last time.
const PATIENCE: u32 = 4;
/// Shortest patience with another worker.
const LEAST_PATIENCE: Duration = Duration::from_millis(250);

impl Round {
    /// Gets one version of a job's weights, whose blocks have these digests; `None` if it is no longer served. `usual`:
    /// how long it took the last time.
    pub(in crate::session) async fn get_weights(
        self: &Arc<Self>,
        means: &Means,
        version: u64,
        digests: &[BlockDigest],
        usual: Option<Duration>,
    ) -> Result<Option<Weights>, Status> {
        if digests.len() != self.weight_blocks.count() as usize {
            return Err(Status::data_loss("expected the digests of all blocks of the weights"));
        }
        let begun = Instant::now();
        let idle = means.transfers.idle();
        let patience = usual.map_or(idle, |usual| (usual * PATIENCE).clamp(LEAST_PATIENCE, idle));
        let lengths = self.weight_blocks.flat_lengths();
        let mut weights = lengths.map(|length| means.transfers.memory().lend(length));
        let ModelState { parameters, statistics } = &mut weights;
        let flat = ModelState { parameters: &mut parameters[..], statistics: &mut statistics[..] };
        let plan = Arc::clone(&self.plan.borrow());
        let cut = cut(&self.weight_blocks, flat, plan.of_weights());
        let cut =
            cut.ok_or_else(|| Status::data_loss("the ranges of the weights are not all blocks once"))?;
        let sources = cut.into_iter().map(|(range, owner, places)| {
            let source =
                Source { round: self, means, version, digests, patience, next: range.first, range, places };
            source.run(owner.filter(|owner| *owner != self.own))
        });
        match try_join_all(sources).await {
            Ok(_) => {}
            Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => {
                return Ok(None);
            }
            Err(status) => return Err(status),
        }
        self.weights_are_here();
        let bytes = lengths.parameters + lengths.statistics;
        means.transfers.metrics().moved(Direction::Received, bytes * size_of::<f32>(), begun);
        Ok(Some(weights.map(Arc::new)))
    }

    /// This worker does not get the weights of the round: others must not wait for it.
    pub(in crate::session) fn has_no_weights(&self) {
        self.weights.close();
        self.weights_are_here();
    }
}

/// The places of a range of blocks in the flat buffers.
struct Places<'a> {
    elements: ModelState<Range<usize>>,
    values: ModelState<&'a mut [f32]>,
}

type Owned<'a> = (BlockRange, Option<SessionId>, Places<'a>);

/// Cuts flat buffers into the places of ranges. `None` if these are not all blocks once, in order.
fn cut<'a>(
    blocks: &Blocks,
    flat: ModelState<&'a mut [f32]>,
    ranges: &[(BlockRange, Option<SessionId>)],
) -> Option<Vec<Owned<'a>>> {
    let ModelState { mut parameters, mut statistics } = flat;
    let mut reached = 0;
    let mut all = Vec::new();
    for (range, owner) in ranges {
        if range.first != reached || range.end > blocks.count() {
            return None;
        }
        reached = range.end;
        let elements = blocks.elements(*range);
        let values = ModelState {
            parameters: parameters.split_off_mut(..elements.parameters.len())?,
            statistics: statistics.split_off_mut(..elements.statistics.len())?,
        };
        all.push((*range, *owner, Places { elements, values }));
    }
    (reached == blocks.count()).then_some(all)
}

impl Places<'_> {
    /// The place of a block of the range.
    fn of(&mut self, (kind, elements): (TensorKind, Range<usize>)) -> &mut [f32] {
        let start = elements.start - self.elements[kind].start;
        &mut self.values[kind][start..start + elements.len()]
    }
}

/// Gets one range of the weights.
struct Source<'a> {
    round: &'a Round,
    means: &'a Means,
    version: u64,
    digests: &'a [BlockDigest],
    /// How long to wait for a block of another worker.
    patience: Duration,
    range: BlockRange,
    /// The first block that is missing.
    next: u32,
    places: Places<'a>,
}

impl Source<'_> {
    /// Gets the range from another worker, or from the coordinator; what the other worker does not deliver, from the
    /// coordinator as well.
    async fn run(mut self, from: Option<SessionId>) -> Result<(), Status> {
        if let Some(from) = from {
            let what = Fetch { round: self.round, from, wanted: Wanted::Weights, late: Some(self.patience) };
            let (means, range) = (self.means, self.range);
            let reason = match means.peers.fetch(what, range, &mut self).await {
                Ok(()) => "a block is not the one that it should be".to_owned(),
                Err(status) => said(&status),
            };
            if self.next < self.range.end {
                tracing::debug!(session = %from, reason, "the coordinator is asked for blocks of the weights");
            }
        }
        match BlockRange::new(self.next, self.range.end) {
            Some(rest) => self.fetch_from_coordinator(rest).await,
            None => Ok(()),
        }
    }

    async fn fetch_from_coordinator(&mut self, range: BlockRange) -> Result<(), Status> {
        let transfers = &self.means.transfers;
        let window = share(self.round.plan.borrow().peers.len());
        let job = &self.round.request.job;
        let body = transfers.download_blocks(job, self.version, range, window).await?;
        let mut reader = BlockReader::new(body, range);
        while let Some(number) = reader.next_number() {
            let read = async { reader.read(self.memory(number)).await.map_err(failed) };
            let digest = transfers.in_time(read).await?;
            if !self.arrived(number, digest).await {
                return Err(Status::data_loss("a block is not the one that it should be"));
            }
        }
        Ok(())
    }
}

impl Sink for Source<'_> {
    fn memory(&mut self, number: u32) -> &mut [u8] {
        bytes_mut(self.places.of(self.round.weight_blocks.place(number)))
    }

    /// Passes on a block, if it is the one that it should be.
    async fn arrived(&mut self, number: u32, digest: BlockDigest) -> bool {
        if self.digests.get(number as usize) != Some(&digest) {
            return false;
        }
        self.next = number + 1;
        self.means.transfers.advance();
        if self.round.passes_on(BlockRange { first: number, end: number + 1 }) {
            // The others read it while this worker may already compute, so that it needs memory of its own.
            let place = self.places.of(self.round.weight_blocks.place(number));
            let mut block = self.means.peers.memory().lend(place.len());
            block.copy_from_slice(place);
            self.round.weights.put(number, Block { bytes: shared_bytes(&Arc::new(block)), digest });
        }
        true
    }
}

#[cfg(test)]
mod tests;

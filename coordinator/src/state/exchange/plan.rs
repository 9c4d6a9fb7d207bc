//! What the workers of a request are told of its exchange, and what their answers are compared with.

use std::collections::{BTreeMap, BTreeSet};

use lookbehind_common::blocks::{BlockDigest, BlockRange, Blocks};
use lookbehind_common::ids::{RequestId, SessionId, Ticket};
use lookbehind_common::reduction::Segment;

use super::audit::Audit;
use super::{Exchange, Secrets};
use crate::state::command::{ExchangePlan, PeerAddress};
use crate::state::event::Addend;

/// A model of fewer blocks is exchanged through the coordinator: the messages between workers would take longer than what
/// they save.
pub(crate) const LEAST_BLOCKS: u32 = 4;

impl Secrets {
    /// The secrets of a request with partials of these blocks. `activation` tells apart requests that a job repeats.
    pub(crate) fn draw(key: &[u8; 32], activation: u64, request: &RequestId, blocks: &Blocks) -> Self {
        let audit = Audit::draw(key, activation, request, blocks);
        Self { ticket: ticket(key, activation, request), audit }
    }
}

/// The ticket of a request.
pub(super) fn ticket(key: &[u8; 32], activation: u64, request: &RequestId) -> Ticket {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(request.job.as_str().as_bytes());
    for number in [activation, request.outer_step, u64::from(request.index)] {
        hasher.update(&number.to_le_bytes());
    }
    let mut bits = [0; 16];
    hasher.finalize_xof().fill(&mut bits);
    Ticket::from_entropy(u128::from_be_bytes(bits))
}

impl Exchange {
    /// The workers that take part: owners, and those that were asked for segments.
    pub(crate) fn parties(&self) -> Vec<SessionId> {
        let owners = self.ranges.iter().filter_map(|range| range.owner);
        let mut parties: Vec<_> = owners.chain(self.makers.iter().map(|(_, session)| *session)).collect();
        parties.sort_unstable();
        parties.dedup();
        parties
    }

    /// What the workers are to be told if it has changed since the last call.
    pub(crate) fn take_changes(
        &mut self,
        request: &RequestId,
        address: impl Fn(SessionId) -> Option<PeerAddress>,
    ) -> Option<ExchangePlan> {
        std::mem::take(&mut self.is_changed).then(|| self.plan(request, address))
    }

    /// What the workers are told.
    pub(crate) fn plan(
        &self,
        request: &RequestId,
        address: impl Fn(SessionId) -> Option<PeerAddress>,
    ) -> ExchangePlan {
        ExchangePlan {
            request: request.clone(),
            ticket: self.ticket,
            peers: self.parties().into_iter().filter_map(address).collect(),
            ranges: self.ranges.iter().map(|range| (range.blocks, range.owner)).collect(),
            weights: self.weights.clone(),
            makers: self.makers.clone(),
        }
    }
}

/// Outcome of a comparison of what an owner added with what was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    /// A segment has not been announced.
    Unknown,
    Differs,
}

/// Most addends of a range. An owner needs one for each segment, and a few more where workers changed meanwhile.
const MOST_ADDENDS: usize = 1024;

/// Compares what an owner says that it added with what was announced. Every block must consist of segments that cover
/// all shards, each once.
pub(super) fn compare(
    blocks: BlockRange,
    root: Segment,
    addends: &[Addend],
    announced: &BTreeMap<Segment, Vec<BlockDigest>>,
) -> Comparison {
    if addends.len() > MOST_ADDENDS {
        return Comparison::Differs;
    }
    // Between two bounds, all blocks consist of the same segments.
    let bounds = addends.iter().flat_map(|addend| [addend.blocks.first, addend.blocks.end]);
    let bounds: BTreeSet<u32> =
        bounds.chain([blocks.first]).filter(|bound| blocks.contains(*bound)).collect();
    let is_whole = |block: u32| {
        let here = addends.iter().filter(|addend| addend.blocks.contains(block));
        let here: Vec<Segment> = here.map(|addend| addend.segment).collect();
        let segments: BTreeSet<Segment> = here.iter().copied().collect();
        let shards = here.iter().map(|segment| u64::from(segment.len())).sum::<u64>();
        shards == u64::from(root.len()) && covers(root, &|segment| segments.contains(&segment))
    };
    if !bounds.into_iter().all(is_whole) {
        return Comparison::Differs;
    }
    let mut comparison = Comparison::Equal;
    for addend in addends {
        let Some(digests) = announced.get(&addend.segment) else {
            comparison = Comparison::Unknown;
            continue;
        };
        let expected = addend.blocks.of(digests).map(BlockDigest::of_all);
        if expected != Some(addend.digest) {
            return Comparison::Differs;
        }
    }
    comparison
}

/// Whether the segments that `holds` is true of cover a segment in the reduction tree.
pub(super) fn covers(segment: Segment, holds: &impl Fn(Segment) -> bool) -> bool {
    holds(segment)
        || segment.children().is_some_and(|(left, right)| covers(left, holds) && covers(right, holds))
}

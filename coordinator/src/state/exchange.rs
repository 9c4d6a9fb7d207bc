//! The exchange of a request between its workers: who owns which blocks, what has arrived, and what is taken over.
//!
//! Owners fetch the blocks of all partials from the workers that made them, add them and upload the sums. The
//! coordinator compares what they added with what the makers announced. A range whose owner is lost, late or cannot reach
//! a maker is taken over by the coordinator: the makers then upload their parts of it, and the coordinator adds them. So
//! a request ends whatever happens between workers, and all ways come to the same bytes.

mod between;
mod parties;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lookbehind_common::blocks::{BlockDigest, BlockRange, Blocks};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::{SessionId, Ticket};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::reduction::Segment;

pub(crate) use self::parties::Unreachable;
pub(crate) use self::plan::{LEAST_BLOCKS, ticket};
use super::event::Addend;

/// What was received of a range: gradient and batch statistics.
pub type Part = ModelState<FlatBuffer>;

/// A range of blocks and what is known of its sum.
#[derive(Debug)]
struct OwnedRange {
    blocks: BlockRange,
    /// `None` for the coordinator.
    owner: Option<SessionId>,
    /// The owner's sum.
    sum: Option<Part>,
    /// What the owner says that it added.
    addends: Option<Vec<Addend>>,
    /// Parts of segments and the digests of their blocks, once the coordinator owns the range. They may arrive before
    /// what they are compared with.
    parts: BTreeMap<Segment, (Part, Vec<BlockDigest>)>,
    /// Whether the sum is known: nothing more is expected.
    is_settled: bool,
}

/// The exchange of one request.
#[derive(Debug)]
pub(crate) struct Exchange {
    ticket: Ticket,
    /// The blocks of a partial.
    blocks: Blocks,
    /// Ranges of the blocks of the weights and who passes them on, if these are others than those of a partial.
    weights: Vec<(BlockRange, SessionId)>,
    /// The segment of all shards.
    root: Segment,
    ranges: Vec<OwnedRange>,
    /// Workers that were asked for segments, in the order of the assignments.
    makers: Vec<(Segment, SessionId)>,
    /// Digests of the blocks of the partials that were announced. They stay although their maker is lost: whoever
    /// computes the segment again comes to the same bytes.
    announced: BTreeMap<Segment, Vec<BlockDigest>>,
    /// When all shards were announced: from then on, only transfers are waited for.
    announced_at: Option<Duration>,
    /// When a range was last taken over.
    taken_over_at: Option<Duration>,
    /// Whether the workers must be told of changes.
    is_changed: bool,
}

impl Exchange {
    /// An exchange in which these workers own the blocks in equal parts. `shards` is the number of shards of the request.
    pub(crate) fn new(ticket: Ticket, blocks: Blocks, shards: u32, owners: &[SessionId]) -> Self {
        let ranges = blocks.divide(owners.len() as u32).into_iter().zip(owners);
        let ranges = ranges.map(|(blocks, owner)| OwnedRange {
            blocks,
            owner: Some(*owner),
            sum: None,
            addends: None,
            parts: BTreeMap::new(),
            is_settled: false,
        });
        Self {
            ticket,
            blocks,
            weights: Vec::new(),
            root: Segment::root(shards),
            ranges: ranges.collect(),
            makers: Vec::new(),
            announced: BTreeMap::new(),
            announced_at: None,
            taken_over_at: None,
            is_changed: true,
        }
    }

    /// The same exchange, in which the owners pass on weights of other blocks than those of a partial, in equal parts.
    pub(crate) fn with_weights(self, weights: Blocks, owners: &[SessionId]) -> Self {
        let ranges = weights.divide(owners.len() as u32).into_iter();
        Self { weights: ranges.zip(owners.iter().copied()).collect(), ..self }
    }

    /// Bytes of a partial where it travels.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.bytes()
    }

    /// Notes that a worker was asked for segments.
    pub(crate) fn note_makers(&mut self, session: SessionId, segments: &[Segment]) {
        self.makers.extend(segments.iter().map(|segment| (*segment, session)));
        self.is_changed = true;
    }

    /// Notes the digests of a computed partial. `false` if their number is not that of the blocks.
    pub(crate) fn announce(&mut self, segment: Segment, digests: Vec<BlockDigest>) -> bool {
        if digests.len() != self.blocks.count() as usize {
            return false;
        }
        self.announced.entry(segment).or_insert(digests);
        self.settle();
        true
    }

    /// Notes that all shards have been announced.
    pub(crate) fn note_all_announced(&mut self, now: Duration) {
        self.announced_at.get_or_insert(now);
    }

    /// Notes that announced partials are missing again.
    pub(crate) fn note_missing(&mut self) {
        self.announced_at = None;
    }

    /// For how long only transfers have been waited for, since the last change; `None` while partials are missing.
    pub(crate) fn waited(&self, now: Duration) -> Option<Duration> {
        let announced_at = self.announced_at?;
        let since = self.taken_over_at.map_or(announced_at, |taken_over_at| taken_over_at.max(announced_at));
        Some(now.saturating_sub(since))
    }

    /// When all shards had been announced.
    pub(crate) fn announced_at(&self) -> Option<Duration> {
        self.announced_at
    }

    /// Whether the coordinator owns a range that is not settled.
    pub(crate) fn is_taken_over(&self) -> bool {
        self.ranges.iter().any(|range| range.owner.is_none() && !range.is_settled)
    }

    /// Whether the coordinator has taken over a range.
    pub(crate) fn was_taken_over(&self) -> bool {
        self.ranges.iter().any(|range| range.owner.is_none())
    }

    /// Whether a worker may upload blocks of a segment: the whole sum of a range that it owns, or its part of a range
    /// that the coordinator owns. Else the reason why not, which is no fault of the worker's.
    pub(crate) fn admit(
        &self,
        session: SessionId,
        segment: Segment,
        blocks: BlockRange,
    ) -> Result<(), String> {
        let range = self.ranges.iter().find(|range| range.blocks == blocks);
        match range {
            Some(range) if range.is_settled => Err(format!("{blocks} are complete")),
            Some(range) if range.owner == Some(session) && segment == self.root && range.sum.is_none() => {
                Ok(())
            }
            Some(range) if range.owner.is_none() && self.is_made_by(segment, session) => {
                if range.parts.contains_key(&segment) {
                    return Err(format!("{blocks} of {segment} are here"));
                }
                Ok(())
            }
            Some(_) => Err(format!("{blocks} of {segment} are not expected from session {session}")),
            None => Err(format!("{blocks} are no range of the exchange")),
        }
    }

    fn is_made_by(&self, segment: Segment, session: SessionId) -> bool {
        self.makers.contains(&(segment, session))
    }

    /// The blocks of a range, as those of flat buffers of their own.
    pub(crate) fn blocks_of(&self, range: BlockRange) -> Blocks {
        self.blocks.cut(range)
    }

    /// Takes blocks that were admitted. Returns whether they were of use; those of a segment are refused if they are not
    /// what was announced.
    pub(crate) fn take(
        &mut self,
        session: SessionId,
        segment: Segment,
        blocks: BlockRange,
        part: Part,
        digests: &[BlockDigest],
    ) -> Result<(), String> {
        self.admit(session, segment, blocks)?;
        let announced = self.announced.get(&segment).and_then(|digests| blocks.of(digests));
        let range = self.ranges.iter_mut().find(|range| range.blocks == blocks);
        let range = range.ok_or_else(|| format!("{blocks} are no range of the exchange"))?;
        if range.owner.is_some() {
            range.sum = Some(part);
        } else if announced.is_none_or(|announced| announced == digests) {
            range.parts.insert(segment, (part, digests.to_vec()));
        } else {
            return Err(format!("{blocks} of {segment} are not those that were announced"));
        }
        self.settle();
        Ok(())
    }

    /// Notes what an owner says that it added.
    pub(crate) fn note_reduced(&mut self, session: SessionId, blocks: BlockRange, addends: Vec<Addend>) {
        let owned = |range: &&mut OwnedRange| range.blocks == blocks && range.owner == Some(session);
        if let Some(range) = self.ranges.iter_mut().find(owned) {
            range.addends.get_or_insert(addends);
            self.settle();
        }
    }

    /// Lets the coordinator take over ranges whose owners added a segment that nobody will announce any more: its maker has
    /// left before it could. `awaited` are the segments that workers are computing.
    pub(crate) fn take_over_unfounded(&mut self, awaited: &BTreeSet<Segment>, now: Duration) {
        let (announced, open) = (&self.announced, self.ranges.iter_mut().filter(|range| !range.is_settled));
        for range in open {
            let is_lost = |addend: &Addend| {
                !announced.contains_key(&addend.segment) && !awaited.contains(&addend.segment)
            };
            if range.addends.as_ref().is_some_and(|addends| addends.iter().any(is_lost)) {
                range.give_to_coordinator();
                self.taken_over_at = Some(now);
                self.is_changed = true;
            }
        }
        self.settle();
    }

    /// Decides on the ranges for which everything is there.
    fn settle(&mut self) {
        for range in self.ranges.iter_mut().filter(|range| !range.is_settled) {
            let is_sound = |segment: &Segment, digests: &[BlockDigest]| {
                let announced = self.announced.get(segment).and_then(|digests| range.blocks.of(digests));
                announced.is_none_or(|announced| announced == digests)
            };
            range.parts.retain(|segment, (_, digests)| is_sound(segment, digests));
            match (&range.owner, &range.sum, &range.addends) {
                (Some(_), Some(_), Some(addends)) => {
                    match plan::compare(range.blocks, self.root, addends, &self.announced) {
                        plan::Comparison::Equal => range.is_settled = true,
                        // The maker's announcement is on its way, or somebody computes the segment again.
                        plan::Comparison::Unknown => {}
                        plan::Comparison::Differs => {
                            range.give_to_coordinator();
                            self.is_changed = true;
                        }
                    }
                }
                (None, ..) => {
                    let holds =
                        |segment| range.parts.contains_key(&segment) && self.announced.contains_key(&segment);
                    range.is_settled = plan::covers(self.root, &holds);
                }
                _ => {}
            }
        }
    }

    /// Lets the coordinator take over the ranges that a worker owns, as far as they are not settled. Returns whether
    /// there were any.
    pub(crate) fn take_over_from(&mut self, session: SessionId, now: Duration) -> bool {
        self.take_over(now, |owner| owner == session)
    }

    /// Lets the coordinator take over all ranges that are not settled. Returns their owners.
    pub(crate) fn take_over_all(&mut self, now: Duration) -> Vec<SessionId> {
        let open = self.ranges.iter().filter(|range| !range.is_settled);
        let owners = open.filter_map(|range| range.owner).collect();
        self.take_over(now, |_| true);
        owners
    }

    fn take_over(&mut self, now: Duration, of: impl Fn(SessionId) -> bool) -> bool {
        let mut any = false;
        for range in self.ranges.iter_mut().filter(|range| !range.is_settled) {
            if range.owner.is_some_and(&of) {
                range.give_to_coordinator();
                any = true;
            }
        }
        if any {
            self.taken_over_at = Some(now);
            self.is_changed = true;
        }
        any
    }

    /// Workers whose parts of ranges that the coordinator owns are missing, although they announced them.
    pub(crate) fn silent_makers(
        &self,
        announced_by: impl Fn(Segment) -> Option<SessionId>,
    ) -> Vec<SessionId> {
        let taken_over = self.ranges.iter().filter(|range| range.owner.is_none() && !range.is_settled);
        let missing = taken_over.flat_map(|range| {
            let segments = self.announced.keys().filter(|segment| !range.parts.contains_key(segment));
            segments.filter_map(|segment| announced_by(*segment))
        });
        let mut sessions: Vec<SessionId> = missing.collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// Whether the sum of every range is known.
    pub(crate) fn is_complete(&self) -> bool {
        self.ranges.iter().all(|range| range.is_settled)
    }

    /// What the sums of the ranges are made of, once the exchange is complete: the segment of all shards, or segments
    /// that cover them.
    pub(crate) fn into_parts(self) -> RangeParts {
        let (root, blocks) = (self.root, self.blocks);
        let parts = |range: OwnedRange| match (range.owner, range.sum) {
            (Some(_), Some(sum)) => (range.blocks, BTreeMap::from([(root, sum)])),
            _ => {
                let parts = range.parts.into_iter();
                let announced = parts.filter(|(segment, _)| self.announced.contains_key(segment));
                (range.blocks, announced.map(|(segment, (part, _))| (segment, part)).collect())
            }
        };
        RangeParts { blocks, ranges: self.ranges.into_iter().map(parts).collect() }
    }
}

/// What the sums of ranges of blocks are made of.
#[derive(Debug)]
pub struct RangeParts {
    /// The blocks of a partial.
    pub blocks: Blocks,
    /// Ranges that together are all blocks, each with its parts of segments that together are the whole batch.
    pub ranges: Vec<(BlockRange, BTreeMap<Segment, Part>)>,
}

impl OwnedRange {
    fn give_to_coordinator(&mut self) {
        (self.owner, self.sum, self.addends) = (None, None, None);
    }
}

#[cfg(test)]
mod tests;

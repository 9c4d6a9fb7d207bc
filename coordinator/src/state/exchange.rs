//! The exchange of a request between its workers: who owns which blocks, what has arrived, and what is taken over.
//!
//! Owners fetch the blocks of all partials from the workers that made them, add them and upload the sums. The
//! coordinator compares what they added with what the makers announced. A range whose owner is lost, late or cannot reach
//! a maker is taken over by the coordinator: the makers then upload their parts of it, and the coordinator adds them. So
//! a request ends whatever happens between workers, and all ways come to the same bytes.

mod announcing;
mod arriving;
mod audit;
mod beside;
mod between;
mod doubt;
mod parties;
mod parts;
mod passing;
mod plan;
mod ranges;
mod takeover;

use std::collections::BTreeMap;
use std::time::Duration;

use lookbehind_common::blocks::{BlockDigest, BlockRange, Blocks};
use lookbehind_common::ids::{SessionId, Ticket};
use lookbehind_common::reduction::Segment;

pub(crate) use self::announcing::Announcement;
use self::audit::Audit;
pub use self::audit::AuditedSlice;
pub(crate) use self::audit::WrongSum;
pub(crate) use self::doubt::Suspect;
pub(crate) use self::parties::Unreachable;
pub use self::parts::{Part, RangeParts};
pub(crate) use self::passing::Passing;
pub(crate) use self::plan::LEAST_BLOCKS;
use super::event::Addend;

/// What nobody else may be able to guess of an exchange.
#[derive(Debug)]
pub(crate) struct Secrets {
    ticket: Ticket,
    audit: Audit,
}

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
    /// When that was noticed.
    settled_at: Option<Duration>,
}

/// The exchange of one request.
#[derive(Debug)]
pub(crate) struct Exchange {
    ticket: Ticket,
    /// The blocks of a partial.
    blocks: Blocks,
    /// Ranges of the blocks of the weights and who passes them on, if these are others than those of a partial.
    weights: Vec<(BlockRange, Option<SessionId>)>,
    /// The segment of all shards.
    root: Segment,
    ranges: Vec<OwnedRange>,
    /// Workers that were asked for segments, in the order of the assignments.
    makers: Vec<(Segment, SessionId)>,
    /// Digests of the blocks of the partials that were announced. They stay although their maker is lost: whoever
    /// computes the segment again comes to the same bytes.
    announced: BTreeMap<Segment, Vec<BlockDigest>>,
    /// Who announced them.
    announcers: BTreeMap<Segment, SessionId>,
    /// When all shards were announced: from then on, only transfers are waited for.
    announced_at: Option<Duration>,
    /// When a range was last taken over.
    taken_over_at: Option<Duration>,
    /// Whether the workers must be told of changes.
    is_changed: bool,
    audit: Audit,
}

impl Exchange {
    /// An exchange in which these workers own the blocks, in proportion to their shares. `shards` is the number of shards
    /// of the request.
    pub(crate) fn new(secrets: Secrets, blocks: Blocks, shards: u32, owners: &[(SessionId, f64)]) -> Self {
        let ranges = ranges::divide(&blocks, owners).into_iter();
        let ranges = ranges.map(|(blocks, owner)| OwnedRange {
            blocks,
            owner: Some(owner),
            sum: None,
            addends: None,
            parts: BTreeMap::new(),
            is_settled: false,
            settled_at: None,
        });
        Self {
            ticket: secrets.ticket,
            blocks,
            weights: Vec::new(),
            root: Segment::root(shards),
            ranges: ranges.collect(),
            makers: Vec::new(),
            announced: BTreeMap::new(),
            announcers: BTreeMap::new(),
            announced_at: None,
            taken_over_at: None,
            is_changed: true,
            audit: secrets.audit,
        }
    }

    /// The same exchange, in which the owners pass on weights of other blocks than those of a partial.
    pub(crate) fn with_weights(self, weights: Blocks, owners: &[(SessionId, f64)]) -> Self {
        Self { weights: ranges::divide(&weights, owners).into_iter().map(owned).collect(), ..self }
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

    /// Whether a range has this owner, and its sum is awaited.
    pub(crate) fn owns(&self, session: SessionId, blocks: BlockRange) -> bool {
        let owned = |range: &OwnedRange| range.blocks == blocks && range.owner == Some(session);
        self.ranges.iter().any(|range| owned(range) && !range.is_settled)
    }

    /// Whether the owner of a range has said that it added what was announced.
    pub(crate) fn added_as_announced(&self, session: SessionId, blocks: BlockRange) -> bool {
        let owned = |range: &&OwnedRange| range.blocks == blocks && range.owner == Some(session);
        let addends = self.ranges.iter().find(owned).and_then(|range| range.addends.as_ref());
        addends.is_some_and(|addends| {
            plan::compare(blocks, self.root, addends, &self.announced) == plan::Comparison::Equal
        })
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
        let contradiction = self.contradicts(segment, blocks, digests);
        let range = self.ranges.iter_mut().find(|range| range.blocks == blocks);
        let range = range.ok_or_else(|| format!("{blocks} are no range of the exchange"))?;
        match (range.owner, contradiction) {
            (Some(_), _) => range.sum = Some(part),
            (None, None) => {
                range.parts.insert(segment, (part, digests.to_vec()));
            }
            (None, Some(reason)) => return Err(reason),
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

    /// Whether the sum of every range is known.
    pub(crate) fn is_settled(&self) -> bool {
        self.ranges.iter().all(|range| range.is_settled)
    }

    /// Whether nothing more is expected.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_settled() && self.audit.is_done()
    }
}

/// A range with its owner, who is not the coordinator.
fn owned((blocks, owner): (BlockRange, SessionId)) -> (BlockRange, Option<SessionId>) {
    (blocks, Some(owner))
}

#[cfg(test)]
mod tests;

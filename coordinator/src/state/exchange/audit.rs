//! The audit of an exchange: of one block of each gradient, drawn with a key that no worker knows, the coordinator asks the
//! makers of the partials for a slice, adds these itself, and compares the sum with the owner's.
//!
//! The question comes after the owner has delivered its sum, so it cannot be answered in advance. What a maker answers is
//! proved by the digest of the block that it announced, so a wrong sum is the owner's fault and nobody else's.

use std::collections::BTreeMap;

use lookbehind_common::blocks::{Blocks, slice};
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::ids::{RequestId, SessionId};
use lookbehind_common::layout::TensorKind;
use lookbehind_common::reduction::{MissingShard, Reduction, Segment, add_assign, reduce_with};

use super::Exchange;
use crate::state::event::Audited;

/// A slice of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditedSlice {
    /// The block.
    pub block: u32,
    /// The slice of it; see [`mod@slice`].
    pub slice: u32,
}

/// The audit of one request.
#[derive(Debug)]
pub(super) struct Audit {
    of: AuditedSlice,
    /// Whom the makers of segments are that were asked.
    asked: BTreeMap<Segment, SessionId>,
    /// The values of the slice in partials.
    values: BTreeMap<Segment, Vec<f32>>,
    is_done: bool,
}

/// An owner did not add what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongSum {
    /// The owner.
    pub(crate) owner: SessionId,
    pub(crate) of: AuditedSlice,
}

impl Audit {
    /// The audit of a request. `activation` tells apart requests that a job repeats.
    pub(super) fn draw(key: &[u8; 32], activation: u64, request: &RequestId, blocks: &Blocks) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(b"audit").update(request.job.as_str().as_bytes());
        for number in [activation, request.outer_step, u64::from(request.index)] {
            hasher.update(&number.to_le_bytes());
        }
        let mut bits = hasher.finalize_xof();
        let mut below = |count: u32| {
            let mut bytes = [0; 8];
            bits.fill(&mut bytes);
            // The bias of the remainder is at most 2⁻³².
            (u64::from_le_bytes(bytes) % u64::from(count.max(1))) as u32
        };
        let block = below(blocks.count());
        let of = AuditedSlice { block, slice: below(slice::slices(bytes_of(blocks, block))) };
        Self { of, asked: BTreeMap::new(), values: BTreeMap::new(), is_done: false }
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }
}

/// Bytes of a block where it travels.
fn bytes_of(blocks: &Blocks, block: u32) -> usize {
    let (kind, elements) = blocks.place(block);
    elements.len() * blocks.format(kind).bytes()
}

impl Exchange {
    /// Whom to ask for which segments, if the audit can go on: once the owner's sum is there and all shards are announced.
    /// `makers` are the workers that hold partials of all shards. Those that were asked are not asked again.
    pub(crate) fn questions(
        &mut self,
        makers: impl Iterator<Item = (Segment, SessionId)>,
    ) -> Option<(AuditedSlice, Vec<(SessionId, Segment)>)> {
        let range = self.ranges.iter().find(|range| range.blocks.contains(self.audit.of.block))?;
        if !range.is_settled || self.announced_at.is_none() || self.audit.is_done {
            return None;
        }
        if range.owner.is_none() {
            // The coordinator itself has added it.
            self.audit.is_done = true;
            return None;
        }
        let audit = &mut self.audit;
        let open = makers.filter(|(segment, _)| !audit.values.contains_key(segment));
        let open: Vec<(Segment, SessionId)> = open.collect();
        let is_new =
            |(segment, maker): &(Segment, SessionId)| audit.asked.insert(*segment, *maker) != Some(*maker);
        let new: Vec<_> = open.into_iter().filter(is_new).map(|(segment, maker)| (maker, segment)).collect();
        (!new.is_empty()).then_some((audit.of, new))
    }

    /// Takes a maker's answer. `Ok` if it is what the maker announced, or not wanted.
    pub(crate) fn note_audited(&mut self, session: SessionId, audited: &Audited) -> Result<(), String> {
        let (audit, blocks) = (&mut self.audit, &self.blocks);
        if audit.is_done || audit.asked.get(&audited.segment) != Some(&session) {
            return Ok(());
        }
        let AuditedSlice { block, slice } = audit.of;
        let announced = self.announced.get(&audited.segment).and_then(|digests| digests.get(block as usize));
        let found = slice::digest(bytes_of(blocks, block), slice, &audited.values, &audited.proof);
        if found.is_none() || found.as_ref() != announced {
            return Err(format!("block {block} of {} is not the one that was announced", audited.segment));
        }
        let format = blocks.format(blocks.place(block).0);
        audit.values.insert(audited.segment, format.values_of(&audited.values).into_owned());
        Ok(())
    }

    /// Compares the owner's sum with that of the makers' values, once these are of all shards.
    pub(crate) fn audit(&mut self) -> Result<(), WrongSum> {
        let AuditedSlice { block, slice } = self.audit.of;
        let range = self.ranges.iter().find(|range| range.blocks.contains(block));
        let Some((range, owner)) = range.and_then(|range| Some((range, range.owner?))) else { return Ok(()) };
        let Some(sum) = range.sum.as_ref().filter(|_| range.is_settled && !self.audit.is_done) else {
            return Ok(());
        };
        let (kind, elements) = self.blocks.cut(range.blocks).place(block - range.blocks.first);
        let format = self.blocks.format(kind);
        let mut slices = Slices { of: &self.audit.values, kind, format };
        let Ok(expected) = reduce_with(self.root, &mut slices) else { return Ok(()) };
        let size = format.bytes();
        let bytes = slice::place(elements.len() * size, slice);
        let found = &sum.values()[kind][elements][bytes.start / size..bytes.end / size];
        // The bits of a NaN depend on the instructions that made it.
        let is_equal = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        self.audit.is_done = true;
        match expected.len() == found.len() && expected.iter().zip(found).all(is_equal) {
            true => Ok(()),
            false => Err(WrongSum { owner, of: self.audit.of }),
        }
    }

    /// Workers that were asked and have not answered.
    pub(super) fn silent_audited(&self) -> impl Iterator<Item = SessionId> {
        let open = self.audit.asked.iter().filter(|_| !self.audit.is_done);
        let open = open.filter(|(segment, _)| !self.audit.values.contains_key(segment));
        open.map(|(_, session)| *session)
    }
}

/// Adds the values of slices in the order of the reduction tree.
struct Slices<'a> {
    of: &'a BTreeMap<Segment, Vec<f32>>,
    kind: TensorKind,
    format: ExchangeFormat,
}

impl Reduction for Slices<'_> {
    type Sum = Vec<f32>;
    type Error = MissingShard;

    fn part(&mut self, segment: Segment) -> Result<Option<Self::Sum>, Self::Error> {
        Ok(self.of.get(&segment).cloned())
    }

    fn add(&mut self, mut left: Self::Sum, right: Self::Sum) -> Result<Self::Sum, Self::Error> {
        match self.kind {
            TensorKind::Parameter => self.format.add_assign(&mut left, &right),
            TensorKind::RunningStatistic => add_assign(&mut left, &right),
        }
        Ok(left)
    }
}

#[cfg(test)]
mod tests;

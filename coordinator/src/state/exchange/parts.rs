//! What is left of an exchange that is complete: the sums of all ranges.

use std::collections::BTreeMap;

use lookbehind_common::blocks::{BlockRange, Blocks};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::reduction::Segment;

use super::{Exchange, OwnedRange};

/// What was received of a range: gradient and batch statistics.
pub type Part = ModelState<FlatBuffer>;

/// What the sums of ranges of blocks are made of.
#[derive(Debug)]
pub struct RangeParts {
    /// The blocks of a partial.
    pub blocks: Blocks,
    /// Ranges that together are all blocks, each with its parts of segments that together are the whole batch.
    pub ranges: Vec<(BlockRange, BTreeMap<Segment, Part>)>,
}

impl Exchange {
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

//! The sum of one block over all shards, in the order of the reduction tree, from whatever parts of it are here.

use std::collections::BTreeMap;

use bytes::Bytes;
use lookbehind_common::blocks::BlockDigest;
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::{FlatBuffer, FlatBufferPool};
use lookbehind_common::reduction::{MissingShard, Reduction, Segment, reduce_with};

/// The values of a block of a partial, and the digest of the block.
pub(super) struct Part {
    pub(super) values: Values,
    pub(super) digest: BlockDigest,
}

/// Values as they came here.
pub(super) enum Values {
    /// Of a partial that was computed here: the bytes that others fetch, and that are shared with them.
    Own(Bytes),
    /// Of a partial that was computed elsewhere.
    Fetched(FlatBuffer),
}

/// The sum of a block over all shards and what it was made of, once enough parts are here. It takes the values of these
/// parts.
pub(super) fn sum(
    root: Segment,
    parts: &mut BTreeMap<Segment, Part>,
    format: ExchangeFormat,
    memory: &FlatBufferPool,
) -> Option<(FlatBuffer, Vec<(Segment, BlockDigest)>)> {
    let mut used = Vec::new();
    if !cover(root, parts, &mut used) {
        return None;
    }
    let digests =
        used.into_iter().filter_map(|segment| Some((segment, parts.get(&segment)?.digest))).collect();
    let mut blockwise = Blockwise { parts, format, memory };
    let sum = reduce_with(root, &mut blockwise).ok()?;
    Some((blockwise.owned(sum), digests))
}

/// Collects the largest parts that together are a segment; `false` if there are none.
fn cover(segment: Segment, parts: &BTreeMap<Segment, Part>, used: &mut Vec<Segment>) -> bool {
    if parts.contains_key(&segment) {
        used.push(segment);
        return true;
    }
    segment.children().is_some_and(|(left, right)| cover(left, parts, used) && cover(right, parts, used))
}

/// Adds the parts of one block in the order of the reduction tree.
struct Blockwise<'a> {
    parts: &'a mut BTreeMap<Segment, Part>,
    /// Format of the block's elements.
    format: ExchangeFormat,
    memory: &'a FlatBufferPool,
}

impl Blockwise<'_> {
    /// The values in memory of their own.
    fn owned(&self, values: Values) -> FlatBuffer {
        match values {
            Values::Fetched(values) => values,
            Values::Own(bytes) => {
                let values = self.format.values_of(&bytes);
                let mut owned = self.memory.lend(values.len());
                owned.copy_from_slice(&values);
                owned
            }
        }
    }
}

impl Reduction for Blockwise<'_> {
    type Sum = Values;
    type Error = MissingShard;

    fn part(&mut self, segment: Segment) -> Result<Option<Values>, MissingShard> {
        Ok(self.parts.remove(&segment).map(|part| part.values))
    }

    fn add(&mut self, left: Values, right: Values) -> Result<Values, MissingShard> {
        let mut sum = self.owned(left);
        match &right {
            Values::Own(bytes) => self.format.add_assign(&mut sum, &self.format.values_of(bytes)),
            Values::Fetched(right) => self.format.add_assign(&mut sum, right),
        }
        Ok(Values::Fetched(sum))
    }
}

#[cfg(test)]
mod tests;

//! The reduction tree: one fixed binary tree over shard numbers.
//!
//! segment(a..b) = segment(a..m) + segment(m..b) with m = a + the largest power of two smaller than b − a.
//! Floating-point addition is not associative, so the order of additions must not depend on which worker computed which
//! shards. With one tree, every assignment of shards gives the same additions in the same order.

use std::fmt;

use crate::exchange_format::ExchangeFormat;
use crate::partial::Partial;

/// A segment of the reduction tree: the contiguous shards `first..end`, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Segment {
    /// First shard.
    pub first: u32,
    /// One past the last shard.
    pub end: u32,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shards {}..{}", self.first, self.end)
    }
}

impl Segment {
    /// The root of the tree over `shards` shards; `shards` must not be 0.
    pub fn root(shards: u32) -> Self {
        Self { first: 0, end: shards }
    }

    /// Number of shards in the segment.
    pub fn len(self) -> u32 {
        self.end - self.first
    }

    /// Whether the range is empty, which a valid segment is not. For ranges that came over the wire.
    pub fn is_empty(self) -> bool {
        self.first >= self.end
    }

    /// The two children, whose sum the segment is; `None` for a single shard.
    pub fn children(self) -> Option<(Segment, Segment)> {
        if self.len() < 2 {
            return None;
        }
        let middle = self.first + self.len().div_ceil(2).next_power_of_two();
        Some((Segment { first: self.first, end: middle }, Segment { first: middle, end: self.end }))
    }

    /// Whether `other` lies within this segment.
    pub fn contains(self, other: Segment) -> bool {
        self.first <= other.first && other.end <= self.end
    }

    /// The largest segments of the tree over `shards` shards that lie within `range`. Together they cover the shards of
    /// `range` in the tree, each once, in the order of the shards.
    pub fn maximal_within(range: Segment, shards: u32) -> Vec<Segment> {
        fn descend(segment: Segment, range: Segment, found: &mut Vec<Segment>) {
            if range.contains(segment) {
                found.push(segment);
            } else if let Some((left, right)) = segment.children() {
                if range.first < left.end {
                    descend(left, range, found);
                }
                if range.end > right.first {
                    descend(right, range, found);
                }
            }
        }
        let mut found = Vec::new();
        if shards > 0 && !range.is_empty() {
            descend(Segment::root(shards), range, &mut found);
        }
        found
    }
}

/// `left += right`, for parts of the partials of two sibling segments. Both must have the same length.
pub fn add_assign(left: &mut [f32], right: &[f32]) {
    crate::optimizer::elementwise::add_assign(left, right);
}

/// The sum of the partials of two sibling segments, in the memory of the left one. Their gradients, which must have been
/// rounded to `format`, are added in it.
pub fn add(mut left: Partial, right: &Partial, format: ExchangeFormat) -> Partial {
    format.add_assign(&mut left.gradient, &right.gradient);
    add_assign(&mut left.statistics, &right.statistics);
    left.sums.add(&right.sums);
    left
}

/// The partial of a segment, summed in the order of the tree, gradients in `format`. `part` returns the partial of a
/// segment if it is known, and `None` if it is to be summed from the segment's children. A single shard must be known.
///
/// # Errors
/// Any error of `part`, and [`MissingShard`] if a single shard is not known.
pub fn reduce<E: From<MissingShard>>(
    segment: Segment,
    format: ExchangeFormat,
    part: &mut impl FnMut(Segment) -> Result<Option<Partial>, E>,
) -> Result<Partial, E> {
    // A closure cannot implement a trait with two functions, so this struct does it for all callers.
    struct InMemory<'a, F>(&'a mut F, ExchangeFormat);
    impl<E, F: FnMut(Segment) -> Result<Option<Partial>, E>> Reduction for InMemory<'_, F> {
        type Sum = Partial;
        type Error = E;

        fn part(&mut self, segment: Segment) -> Result<Option<Partial>, E> {
            (self.0)(segment)
        }

        fn add(&mut self, left: Partial, right: Partial) -> Result<Partial, E> {
            Ok(add(left, &right, self.1))
        }
    }
    reduce_with(segment, &mut InMemory(part, format))
}

/// A reduction over the tree whose sums may be kept anywhere, for example on a GPU.
pub trait Reduction {
    /// The sum over a segment.
    type Sum;
    /// Error of the reduction.
    type Error;

    /// The sum of a segment if it is known, and `None` if it is to be summed from the segment's children. A single
    /// shard must be known.
    ///
    /// # Errors
    /// If the sum cannot be computed.
    fn part(&mut self, segment: Segment) -> Result<Option<Self::Sum>, Self::Error>;

    /// The sum of two sibling segments.
    ///
    /// # Errors
    /// If the sum cannot be computed.
    fn add(&mut self, left: Self::Sum, right: Self::Sum) -> Result<Self::Sum, Self::Error>;
}

/// The sum over a segment in the order of the tree, as with [`reduce`], for sums of any kind.
///
/// # Errors
/// Any error of `reduction`, and [`MissingShard`] if a single shard is not known.
pub fn reduce_with<R: Reduction>(segment: Segment, reduction: &mut R) -> Result<R::Sum, R::Error>
where
    R::Error: From<MissingShard>,
{
    if let Some(known) = reduction.part(segment)? {
        return Ok(known);
    }
    let (left, right) = segment.children().ok_or(MissingShard { shard: segment.first })?;
    let left = reduce_with(left, reduction)?;
    let right = reduce_with(right, reduction)?;
    reduction.add(left, right)
}

/// The partial of one shard is missing in a reduction.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("no partial of shard {shard}")]
pub struct MissingShard {
    /// Number of the shard.
    pub shard: u32,
}

/// Positions within a batch of `samples` samples that shard `shard` of `shards` covers. Shards are contiguous; the
/// first `samples mod shards` of them have one sample more than the others. `shards` must not be 0.
pub fn shard_range(samples: u64, shards: u32, shard: u32) -> std::ops::Range<u64> {
    let (shards, shard) = (u64::from(shards), u64::from(shard));
    let (size, longer) = (samples / shards, samples % shards);
    let start = shard * size + shard.min(longer);
    start..start + size + u64::from(shard < longer)
}

/// Number of shards of a batch of `samples` samples: at most `shards`, and so that no shard is empty.
pub fn effective_shards(samples: u64, shards: u32) -> u32 {
    samples.min(u64::from(shards)) as u32
}

#[cfg(test)]
mod tests;

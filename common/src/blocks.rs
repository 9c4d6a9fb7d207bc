//! The blocks into which weights and partials are cut where workers exchange them with each other.
//!
//! Blocks depend on the model alone, never on the number of workers: the sum of partials is elementwise, so it may be
//! computed block by block, anywhere, with the same bytes.

pub mod slice;

use std::fmt;
use std::ops::Range;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::exchange_format::ExchangeFormat;
use crate::layout::TensorKind;
use crate::model_state::ModelState;

/// Most elements of a block: 1 MiB of f32, or 512 KiB of bf16. The last block of the parameters, and of the running
/// statistics, may be shorter.
pub const BLOCK_ELEMENTS: usize = 1 << 18;
/// Fewest elements of a block of a model that has many: 64 KiB of f32.
const LEAST_ELEMENTS: usize = 1 << 14;
/// A model has about this many blocks, unless the bounds above say otherwise. A worker passes a block on only when all of
/// it has arrived, and several links carry several blocks each at the same time: where the blocks are few, links have
/// nothing to carry at the beginning and at the end of an exchange.
const USUAL_COUNT: usize = 1024;
/// Models of fewer elements have blocks of the largest size: they are not worth cutting up.
const LEAST_CUT: usize = 4 * BLOCK_ELEMENTS;

/// Elements of a block of a model with this many elements.
fn elements_of_a_block(elements: usize) -> usize {
    if elements < LEAST_CUT {
        return BLOCK_ELEMENTS;
    }
    (elements / USUAL_COUNT).next_power_of_two().clamp(LEAST_ELEMENTS, BLOCK_ELEMENTS)
}

/// The contiguous blocks `first..end`, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockRange {
    /// First block.
    pub first: u32,
    /// One past the last block.
    pub end: u32,
}

impl fmt::Display for BlockRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blocks {}..{}", self.first, self.end)
    }
}

impl BlockRange {
    /// The range `first..end`; `None` if it is empty.
    pub fn new(first: u32, end: u32) -> Option<Self> {
        (first < end).then_some(Self { first, end })
    }

    /// Number of blocks.
    pub fn count(self) -> u32 {
        self.end - self.first
    }

    /// The numbers of the blocks.
    pub fn numbers(self) -> Range<u32> {
        self.first..self.end
    }

    /// Whether a block is in the range.
    pub fn contains(self, block: u32) -> bool {
        self.numbers().contains(&block)
    }

    /// The elements of a list with one element for each block of the model that belong to the range. `None` if the list
    /// is too short.
    pub fn of<T>(self, all: &[T]) -> Option<&[T]> {
        all.get(self.first as usize..self.end as usize)
    }
}

/// The blocks of a model's flat buffers: those of the parameters, then those of the running statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    lengths: ModelState<usize>,
    /// Elements of a block.
    size: usize,
    /// Format in which the blocks of the parameters travel; those of the running statistics are f32.
    format: ExchangeFormat,
}

impl Blocks {
    /// The blocks of flat buffers with these lengths, in elements: of 64 KiB to 1 MiB, larger ones in larger models.
    pub fn new(lengths: ModelState<usize>) -> Self {
        Self::of_size(lengths, elements_of_a_block(lengths.parameters + lengths.statistics))
    }

    /// As [`Blocks::new`], with blocks of `size` elements: for tests, in which a small model is to have several.
    pub fn of_size(lengths: ModelState<usize>, size: usize) -> Self {
        Self { lengths, size: size.max(1), format: ExchangeFormat::F32 }
    }

    /// The same blocks of partials, whose gradients travel in a format.
    #[must_use]
    pub fn of_gradients(self, format: ExchangeFormat) -> Self {
        Self { format, ..self }
    }

    /// The format in which the elements of a flat buffer travel.
    pub fn format(&self, kind: TensorKind) -> ExchangeFormat {
        match kind {
            TensorKind::Parameter => self.format,
            TensorKind::RunningStatistic => ExchangeFormat::F32,
        }
    }

    /// Bytes of all blocks where they travel.
    pub fn bytes(&self) -> usize {
        let ModelState { parameters, statistics } = self.lengths;
        parameters * self.format.bytes() + statistics * ExchangeFormat::F32.bytes()
    }

    /// The lengths of the flat buffers, in elements.
    pub fn flat_lengths(&self) -> ModelState<usize> {
        self.lengths
    }

    /// Number of blocks, at least 1 for a model with parameters.
    pub fn count(&self) -> u32 {
        let ModelState { parameters, statistics } =
            self.lengths.map(|length| length.div_ceil(self.size) as u32);
        parameters + statistics
    }

    /// In which flat buffer a block lies, and its elements there.
    pub fn place(&self, block: u32) -> (TensorKind, Range<usize>) {
        let of_parameters = self.lengths.parameters.div_ceil(self.size) as u32;
        let (kind, number) = match block.checked_sub(of_parameters) {
            None => (TensorKind::Parameter, block),
            Some(number) => (TensorKind::RunningStatistic, number),
        };
        let start = (number as usize * self.size).min(self.lengths[kind]);
        (kind, start..(start + self.size).min(self.lengths[kind]))
    }

    /// The elements of a range of blocks in each of the flat buffers.
    pub fn elements(&self, range: BlockRange) -> ModelState<Range<usize>> {
        let ((kind, first), (last_kind, last)) = (self.place(range.first), self.place(range.end - 1));
        let mut elements = ModelState { parameters: 0..0, statistics: 0..0 };
        if kind == last_kind {
            elements[kind] = first.start..last.end;
        } else {
            elements[kind] = first.start..self.lengths[kind];
            elements[last_kind] = 0..last.end;
        }
        elements
    }

    /// Number of elements of a range of blocks in each of the flat buffers.
    pub fn lengths(&self, range: BlockRange) -> ModelState<usize> {
        self.elements(range).map(|elements| elements.len())
    }

    /// The blocks of a range, as those of flat buffers that consist of nothing else.
    pub fn cut(&self, range: BlockRange) -> Self {
        Self { lengths: self.lengths(range), ..*self }
    }

    /// All blocks.
    pub fn all(&self) -> Option<BlockRange> {
        BlockRange::new(0, self.count())
    }

    /// The digest of a block with these values: that of its bytes where it travels.
    pub fn digest(&self, block: u32, values: &[f32]) -> BlockDigest {
        BlockDigest::of(&self.format(self.place(block).0).bytes_of(values))
    }

    /// The digests of all blocks of two flat buffers, which must have the lengths that the blocks were made for.
    pub fn digests(&self, values: ModelState<&[f32]>) -> Vec<BlockDigest> {
        let digest = |block: u32| {
            let (kind, elements) = self.place(block);
            self.digest(block, &values[kind][elements])
        };
        (0..self.count()).into_par_iter().map(digest).collect()
    }
}

/// Digest of a block, or of several: the first 16 bytes of a BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockDigest([u8; Self::BYTES]);

impl BlockDigest {
    /// Length in bytes.
    pub const BYTES: usize = 16;

    /// The digest of a block with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::first_bytes(blake3::hash(bytes))
    }

    /// The digest of several blocks, from theirs.
    pub fn of_all(digests: &[Self]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for digest in digests {
            hasher.update(&digest.0);
        }
        Self::first_bytes(hasher.finalize())
    }

    fn first_bytes(hash: blake3::Hash) -> Self {
        let mut digest = [0; Self::BYTES];
        digest.copy_from_slice(&hash.as_bytes()[..Self::BYTES]);
        Self(digest)
    }

    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for BlockDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests;

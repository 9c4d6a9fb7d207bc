//! Walks arrays of one layout in step, block by block, over all threads.
//!
//! Blocks are fixed by the layout: at most [`BLOCK`] numbers of one tensor. What is summed is summed per
//! block and the blocks' sums are added in order, so that no result depends on how blocks were handed to
//! threads. A block of every array fits the cache, so that a pass may apply several operations to a block one
//! after the other and still read and write memory once.

use std::sync::Arc;

use super::elementwise::GRAIN;
use crate::flat_buffer::FlatBuffer;
use crate::layout::Layout;

/// Most numbers in a block.
pub(super) const BLOCK: usize = 4096;

/// A run of numbers of one parameter tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// First number within the flat buffer.
    pub(super) start: usize,
    /// Numbers.
    pub(super) len: usize,
    /// Counts the parameter tensors.
    pub(super) tensor: usize,
    /// Whether adaptive ascents scale the tensor: those whose name contains `weight`.
    pub(super) scaled: bool,
}

/// The blocks of a layout's parameters, in order and without gaps.
pub(super) fn blocks_of(layout: &Layout) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (tensor, entry) in layout.parameter_entries().enumerate() {
        let scaled = entry.spec.name.contains("weight");
        for start in entry.range.clone().step_by(BLOCK) {
            blocks.push(Block { start, len: BLOCK.min(entry.range.end - start), tensor, scaled });
        }
    }
    blocks
}

/// Arrays that are cut at the same place.
pub(super) trait Cut: Sized + Send {
    /// The arrays before and from `at`.
    fn cut(self, at: usize) -> (Self, Self);
}

impl Cut for &[f32] {
    fn cut(self, at: usize) -> (Self, Self) {
        self.split_at(at)
    }
}

impl Cut for &mut [f32] {
    fn cut(self, at: usize) -> (Self, Self) {
        self.split_at_mut(at)
    }
}

impl<S: Cut> Cut for Option<S> {
    fn cut(self, at: usize) -> (Self, Self) {
        self.map(|arrays| arrays.cut(at)).unzip()
    }
}

impl<S: Cut> Cut for [S; 2] {
    fn cut(self, at: usize) -> (Self, Self) {
        let [(a, a_rest), (b, b_rest)] = self.map(|arrays| arrays.cut(at));
        ([a, b], [a_rest, b_rest])
    }
}

impl Cut for f32 {
    /// A scalar belongs to both parts.
    fn cut(self, _: usize) -> (Self, Self) {
        (self, self)
    }
}

/// Cuts a struct of arrays field by field.
macro_rules! cut_fields {
    ($name:ident { $($field:ident),+ }) => {
        impl $crate::optimizer::blocks::Cut for $name<'_> {
            fn cut(self, at: usize) -> (Self, Self) {
                $(let $field = self.$field.cut(at);)+
                (Self { $($field: $field.0),+ }, Self { $($field: $field.1),+ })
            }
        }
    };
}
pub(super) use cut_fields;

/// An array that is rewritten, from its own values or from those of another.
pub(super) struct Target<'a> {
    source: Option<&'a [f32]>,
    values: &'a mut [f32],
}

impl<'a> Target<'a> {
    /// Rewrites `values`, from `source` if there is one.
    pub(super) fn new(source: Option<&'a Arc<FlatBuffer>>, values: &'a mut FlatBuffer) -> Self {
        Self { source: source.map(|flat_buffer| &flat_buffer[..]), values }
    }

    /// The block's old values, to be overwritten.
    pub(super) fn load(self) -> &'a mut [f32] {
        if let Some(source) = self.source {
            self.values.copy_from_slice(source);
        }
        self.values
    }
}

cut_fields!(Target { source, values });

/// Calls `kernel` with each block and the arrays' parts in it; returns the results in the order of the
/// blocks.
pub(super) fn for_each_block<A: Cut, R: Clone + Default + Send>(
    blocks: &[Block],
    arrays: A,
    kernel: &(impl Fn(&Block, A) -> R + Sync),
) -> Vec<R> {
    let mut results = vec![R::default(); blocks.len()];
    walk(blocks, arrays, &mut results, kernel);
    results
}

fn walk<A: Cut, R: Send>(
    blocks: &[Block],
    arrays: A,
    results: &mut [R],
    kernel: &(impl Fn(&Block, A) -> R + Sync),
) {
    let middle = blocks.len() / 2;
    let (left, right) = blocks.split_at(middle);
    if left.is_empty() || numbers_in(blocks) <= GRAIN {
        return walk_alone(blocks, arrays, results, kernel);
    }
    let (left_arrays, right_arrays) = arrays.cut(numbers_in(left));
    let (left_results, right_results) = results.split_at_mut(middle);
    rayon::join(
        || walk(left, left_arrays, left_results, kernel),
        || walk(right, right_arrays, right_results, kernel),
    );
}

/// Numbers in neighbouring blocks.
fn numbers_in(blocks: &[Block]) -> usize {
    match (blocks.first(), blocks.last()) {
        (Some(first), Some(last)) => last.start + last.len - first.start,
        _ => 0,
    }
}

fn walk_alone<A: Cut, R>(
    blocks: &[Block],
    mut arrays: A,
    results: &mut [R],
    kernel: &impl Fn(&Block, A) -> R,
) {
    for (block, result) in blocks.iter().zip(results) {
        let (part, rest) = arrays.cut(block.len);
        *result = kernel(block, part);
        arrays = rest;
    }
}

#[cfg(test)]
mod tests;

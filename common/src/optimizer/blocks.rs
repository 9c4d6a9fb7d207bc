//! Goes through several arrays of one layout together, block by block, on all threads.
//!
//! The layout determines the blocks: at most [`BLOCK`] elements of one tensor. Sums are computed per block, and the
//! sums of the blocks are added in order, so that no result depends on which thread computed which block. One block of
//! every array fits into the cache, so that a kernel can apply several operations to a block and still read and write
//! memory only once.

use std::sync::Arc;

use super::elementwise::GRAIN;
use crate::flat_buffer::FlatBuffer;
use crate::job::{Groups, TensorRule};
use crate::layout::Layout;

/// Most elements in a block.
pub(super) const BLOCK: usize = 4096;

/// A run of elements of one parameter tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Index of the first element within the flat buffer.
    pub(super) start: usize,
    /// Number of elements.
    pub(super) len: usize,
    /// Number of the tensor among the parameters, from 0.
    pub(super) tensor: usize,
    /// Whether adaptive ascents scale the tensor: true if its name contains `weight`.
    pub(super) scaled: bool,
    /// Whether the tensor is perturbed.
    pub(super) ascends: bool,
    /// Which of the kinds of tensors it is, for its descents; `None` if it is frozen.
    pub(super) kind: Option<usize>,
}

/// The blocks of a layout's parameters, in order and without gaps, and the kinds of tensors that are trained in
/// different ways.
pub(super) fn blocks_of(layout: &Layout, groups: &Groups) -> (Vec<Block>, Vec<TensorRule>) {
    let (mut blocks, mut kinds) = (Vec::new(), Vec::new());
    for (tensor, entry) in layout.parameter_entries().enumerate() {
        let scaled = entry.spec.name.contains("weight");
        let rule = groups.rule(&entry.spec);
        let kind = (!rule.frozen).then(|| {
            kinds.iter().position(|known| *known == rule).unwrap_or_else(|| {
                kinds.push(rule);
                kinds.len() - 1
            })
        });
        for start in entry.range.clone().step_by(BLOCK) {
            let len = BLOCK.min(entry.range.end - start);
            blocks.push(Block { start, len, tensor, scaled, ascends: rule.ascends, kind });
        }
    }
    (blocks, kinds)
}

/// One or several arrays that can be cut at the same index.
pub(super) trait Cut: Sized + Send {
    /// The arrays up to the index `at`, and from it on.
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
    /// A scalar is copied to both parts.
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

/// An array that is written, starting from its own values or from those of another array.
pub(super) struct Target<'a> {
    source: Option<&'a [f32]>,
    values: &'a mut [f32],
}

impl<'a> Target<'a> {
    /// The target `values`, which starts from the values of `source` if there is one.
    pub(super) fn new(source: Option<&'a Arc<FlatBuffer>>, values: &'a mut FlatBuffer) -> Self {
        Self { source: source.map(|flat_buffer| &flat_buffer[..]), values }
    }

    /// The values to start from, which the caller overwrites.
    pub(super) fn load(self) -> &'a mut [f32] {
        if let Some(source) = self.source {
            self.values.copy_from_slice(source);
        }
        self.values
    }
}

cut_fields!(Target { source, values });

/// Calls `kernel` with each block and its part of the arrays. Returns the results in the order of the blocks.
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
    if left.is_empty() || elements_in(blocks) <= GRAIN {
        return walk_alone(blocks, arrays, results, kernel);
    }
    let (left_arrays, right_arrays) = arrays.cut(elements_in(left));
    let (left_results, right_results) = results.split_at_mut(middle);
    rayon::join(
        || walk(left, left_arrays, left_results, kernel),
        || walk(right, right_arrays, right_results, kernel),
    );
}

/// Elements of consecutive blocks.
fn elements_in(blocks: &[Block]) -> usize {
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

//! Matrix products whose bytes depend on the operands alone.
//!
//! An element of the product is a sum over the depth in fixed slices of [`SLICE`]: within a slice one chain of fused
//! multiply-adds in the order of the depth, and the slices are added in their order. Neither the number of threads
//! nor the width of the vectors nor the block sizes take part in it, so that every machine with fused
//! multiply-add comes to the same bytes.

#[allow(
    unsafe_code,
    reason = "the innermost loop reads and writes through pointers that its caller has checked"
)]
mod kernel;
mod panels;

use super::lanes::arch;
use super::output::in_parts;
pub(super) use panels::{MAX_WIDTH, PanelLayout, Panels};
use pulp::{Simd, WithSimd};

/// Depth of one chain of additions.
pub(super) const SLICE: usize = 256;
/// Rows that one task of a parallel product takes: a multiple of every kernel's rows.
const TASK_ROWS: usize = 96;
/// Multiplications below which a product stays on its thread.
const SERIAL: usize = 1 << 17;

/// A left operand [rows, depth], read where it lies.
#[derive(Clone, Copy)]
pub(super) struct Lhs<'a> {
    /// Its numbers from the first element on.
    pub(super) numbers: &'a [f32],
    /// Distance between rows.
    pub(super) row: usize,
    /// Distance along the depth.
    pub(super) step: usize,
}

impl<'a> Lhs<'a> {
    /// A row-major matrix with rows of `depth` numbers.
    pub(super) fn rows(numbers: &'a [f32], depth: usize) -> Self {
        Self { numbers, row: depth, step: 1 }
    }

    /// The transpose of a row-major matrix with rows of `rows` numbers.
    pub(super) fn transposed(numbers: &'a [f32], rows: usize) -> Self {
        Self { numbers, row: 1, step: rows }
    }

    /// The operand without its first rows.
    pub(super) fn rows_from(self, row: usize) -> Self {
        Self { numbers: &self.numbers[row * self.row..], ..self }
    }
}

/// A right operand [depth, columns] in panels.
#[derive(Clone, Copy)]
pub(super) struct Rhs<'a> {
    /// The panels.
    pub(super) numbers: &'a [f32],
    /// Numbers from one panel to the next.
    pub(super) panel: usize,
    /// The first of the depth that takes part.
    pub(super) first: usize,
    /// How much of the depth takes part, and the columns.
    pub(super) layout: PanelLayout,
}

impl Rhs<'_> {
    /// A part of the depth of an operand; only for products over that part.
    pub(super) fn slice(self, depth: std::ops::Range<usize>) -> Self {
        let layout = PanelLayout { depth: depth.len(), ..self.layout };
        Self { first: self.first + depth.start, layout, ..self }
    }
}

/// Where a product goes.
pub(super) struct Output<'a> {
    /// From the first element on; nothing behind the last column of a row is written.
    pub(super) numbers: &'a mut [f32],
    /// Distance between rows.
    pub(super) row: usize,
    /// Whether the product is added to what stands there.
    pub(super) accumulate: bool,
}

/// The product of `rows` rows on this thread.
pub(super) fn multiply(rows: usize, lhs: Lhs<'_>, rhs: Rhs<'_>, output: Output<'_>) {
    arch().dispatch(Gemm { rows, lhs, rhs, output });
}

/// The product of `rows` rows, row-major, over as many threads as there are.
pub(super) fn product(rows: usize, lhs: Lhs<'_>, rhs: Rhs<'_>) -> Vec<f32> {
    let PanelLayout { depth, columns, .. } = rhs.layout;
    let task_rows = if rows * depth * columns < SERIAL { rows } else { TASK_ROWS };
    in_parts(rows * columns, task_rows * columns, |task, numbers| {
        let rows = numbers.len() / columns;
        let output = Output { numbers, row: columns, accumulate: false };
        multiply(rows, lhs.rows_from(task * task_rows), rhs, output);
    })
}

struct Gemm<'a> {
    rows: usize,
    lhs: Lhs<'a>,
    rhs: Rhs<'a>,
    output: Output<'a>,
}

impl WithSimd for Gemm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        kernel::product(simd, self.rows, self.lhs, self.rhs, self.output);
    }
}

#[cfg(test)]
mod tests;

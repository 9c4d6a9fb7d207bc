//! Matrix products whose bytes depend on the operands alone.
//!
//! An element of the matrix product is a sum over the depth in fixed slices of [`SLICE`]: within a slice one chain of
//! fused multiply-adds in the order of the depth, and the slices are added in their order. The result depends neither
//! on the number of threads nor on the width of the vectors nor on block sizes, so that every machine with fused
//! multiply-add gives the same bytes.

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

/// Depth of one chain of additions. It fixes the order of addition, so a change of it changes results.
pub(super) const SLICE: usize = 256;
/// Rows that one task of a parallel matrix product computes: a multiple of the tile height of every instruction set.
const TASK_ROWS: usize = 96;
/// Number of multiplications below which a matrix product is computed by the calling thread alone.
const SERIAL: usize = 1 << 17;

/// A left operand [rows, depth], read in place.
#[derive(Clone, Copy)]
pub(super) struct Lhs<'a> {
    /// The elements, from the operand's first one on.
    pub(super) elements: &'a [f32],
    /// Distance in elements from one row to the next.
    pub(super) row: usize,
    /// Distance in elements from one step of the depth to the next.
    pub(super) step: usize,
}

impl<'a> Lhs<'a> {
    /// A row-major matrix with rows of `depth` elements.
    pub(super) fn rows(elements: &'a [f32], depth: usize) -> Self {
        Self { elements, row: depth, step: 1 }
    }

    /// The transpose of a row-major matrix with rows of `rows` elements.
    pub(super) fn transposed(elements: &'a [f32], rows: usize) -> Self {
        Self { elements, row: 1, step: rows }
    }

    /// The operand without its first `row` rows.
    pub(super) fn rows_from(self, row: usize) -> Self {
        Self { elements: &self.elements[row * self.row..], ..self }
    }
}

/// A right operand [depth, columns] in panels.
#[derive(Clone, Copy)]
pub(super) struct Rhs<'a> {
    /// All panels of the packed operand.
    pub(super) elements: &'a [f32],
    /// Elements from one panel to the next.
    pub(super) panel: usize,
    /// First step of the depth that takes part.
    pub(super) first: usize,
    /// Depth that takes part, and the columns.
    pub(super) layout: PanelLayout,
}

impl Rhs<'_> {
    /// The operand restricted to a range of its depth; it fits only matrix products over that range.
    pub(super) fn slice(self, depth: std::ops::Range<usize>) -> Self {
        let layout = PanelLayout { depth: depth.len(), ..self.layout };
        Self { first: self.first + depth.start, layout, ..self }
    }
}

/// Where a matrix product is written.
pub(super) struct Output<'a> {
    /// The elements, from the output's first one on; nothing beyond the last column of a row is written.
    pub(super) elements: &'a mut [f32],
    /// Distance in elements from one row to the next.
    pub(super) row: usize,
    /// Whether the matrix product is added to the values that are there, or replaces them.
    pub(super) accumulate: bool,
}

/// Computes the matrix product of `rows` rows on this thread.
pub(super) fn multiply(rows: usize, lhs: Lhs<'_>, rhs: Rhs<'_>, output: Output<'_>) {
    arch().dispatch(Gemm { rows, lhs, rhs, output });
}

/// Computes the matrix product of `rows` rows on rayon's threads; returns it row-major.
pub(super) fn product(rows: usize, lhs: Lhs<'_>, rhs: Rhs<'_>) -> Vec<f32> {
    let PanelLayout { depth, columns, .. } = rhs.layout;
    let task_rows = if rows * depth * columns < SERIAL { rows } else { TASK_ROWS };
    in_parts(rows * columns, task_rows * columns, |task, elements| {
        let rows = elements.len() / columns;
        let output = Output { elements, row: columns, accumulate: false };
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

//! The innermost loops: a tile of the matrix product stays in registers during the loop over the depth.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over constants keep the tile in registers; iterators do not"
)]

use pulp::Simd;

use super::panels::{MAX_WIDTH, VECTORS};
use super::{Lhs, Output, Rhs, SLICE};

/// Rows of a tile with AVX-512: 24 vectors of sums, 2 of columns and a factor fit into 32 registers.
const MANY_ROWS: usize = 12;
/// Rows of a tile elsewhere: 12 vectors of sums, 2 of columns and a factor fit into the 16 registers of AVX2.
const FEW_ROWS: usize = 6;

/// Computes the matrix product of `rows` rows.
///
/// # Panics
/// When an operand or the output is too short for its shape.
#[inline(always)]
pub(super) fn product<S: Simd>(simd: S, rows: usize, lhs: Lhs<'_>, rhs: Rhs<'_>, output: Output<'_>) {
    let layout = rhs.layout;
    if rows == 0 || layout.columns == 0 {
        return;
    }
    if layout.depth == 0 {
        return clear(rows, layout.columns, output);
    }
    check(rows, lhs, rhs, &output, VECTORS * S::F32_LANES);
    for first in (0..layout.depth).step_by(SLICE) {
        let depth = SLICE.min(layout.depth - first);
        let accumulate = output.accumulate || first > 0;
        for panel in 0..layout.panels() {
            let columns = layout.width.min(layout.columns - panel * layout.width);
            // SAFETY: `check` has verified that the operands hold all rows, steps and columns that are accessed.
            unsafe {
                let slice = Slice {
                    lhs: lhs.elements.as_ptr().add(first * lhs.step),
                    row: lhs.row,
                    step: lhs.step,
                    rhs: rhs.elements.as_ptr().add(panel * rhs.panel + (rhs.first + first) * layout.width),
                    depth,
                    output: output.elements.as_mut_ptr().add(panel * layout.width),
                    output_row: output.row,
                    columns,
                    accumulate,
                };
                slice.all_rows(simd, rows);
            }
        }
    }
}

fn clear(rows: usize, columns: usize, output: Output<'_>) {
    if !output.accumulate {
        output.elements.chunks_mut(output.row.max(1)).take(rows).for_each(|row| row[..columns].fill(0.0));
    }
}

fn check(rows: usize, lhs: Lhs<'_>, rhs: Rhs<'_>, output: &Output<'_>, width: usize) {
    let layout = rhs.layout;
    assert!(width <= MAX_WIDTH, "a line holds a panel's columns");
    assert_eq!(layout.width, width, "panels are packed for the instruction set that multiplies");
    // Each operand ends with its last row, slice or panel.
    let depth = rhs.first.saturating_add(layout.depth);
    expect("left operand", lhs.elements, [(rows - 1, lhs.row), (layout.depth - 1, lhs.step)], 1);
    expect("right operand", rhs.elements, [(layout.panels() - 1, rhs.panel), (depth, width)], 0);
    expect("output", output.elements, [(rows - 1, output.row), (0, 0)], layout.columns);
}

/// Asserts that `elements` reaches to the sum of the given multiples of distances and `more` elements beyond.
fn expect(what: &str, elements: &[f32], steps: [(usize, usize); 2], more: usize) {
    // A sum that wrapped around would accept any length.
    let add = |end: usize, (count, distance): (usize, usize)| end.checked_add(count.checked_mul(distance)?);
    let end = steps.into_iter().try_fold(more, add);
    assert!(
        end.is_some_and(|end| end <= elements.len()),
        "{what}: {} elements, expected {steps:?} and {more} more",
        elements.len()
    );
}

/// One slice of the depth of one panel.
#[derive(Clone, Copy)]
struct Slice {
    lhs: *const f32,
    row: usize,
    step: usize,
    rhs: *const f32,
    depth: usize,
    output: *mut f32,
    output_row: usize,
    columns: usize,
    accumulate: bool,
}

impl Slice {
    /// # Safety
    /// Left operand and output have `rows` rows; left operand and panel have the slice's depth.
    #[inline(always)]
    unsafe fn all_rows<S: Simd>(self, simd: S, rows: usize) {
        let tile = if S::F32_LANES >= 16 { MANY_ROWS } else { FEW_ROWS };
        let mut row = 0;
        while row < rows {
            let height = tile.min(rows - row);
            // SAFETY: rows `row..row + height` are within the operands' rows.
            unsafe {
                let tile = Self {
                    lhs: self.lhs.add(row * self.row),
                    output: self.output.add(row * self.output_row),
                    ..self
                };
                tile.some_rows(simd, height);
            }
            row += height;
        }
    }

    /// # Safety
    /// As [`Slice::all_rows`], for `height` rows.
    #[inline(always)]
    unsafe fn some_rows<S: Simd>(self, simd: S, height: usize) {
        // SAFETY: each arm takes as many rows as the caller guarantees; `height` is at most 12.
        unsafe {
            match height {
                12 => self.tile::<S, 12>(simd),
                11 => self.tile::<S, 11>(simd),
                10 => self.tile::<S, 10>(simd),
                9 => self.tile::<S, 9>(simd),
                8 => self.tile::<S, 8>(simd),
                7 => self.tile::<S, 7>(simd),
                6 => self.tile::<S, 6>(simd),
                5 => self.tile::<S, 5>(simd),
                4 => self.tile::<S, 4>(simd),
                3 => self.tile::<S, 3>(simd),
                2 => self.tile::<S, 2>(simd),
                _ => self.tile::<S, 1>(simd),
            }
        }
    }

    /// # Safety
    /// As [`Slice::all_rows`], for `ROWS` rows.
    #[inline(always)]
    unsafe fn tile<S: Simd, const ROWS: usize>(self, simd: S) {
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        let (mut lhs, mut rhs) = (self.lhs, self.rhs);
        for _ in 0..self.depth {
            let mut columns = [simd.splat_f32s(0.0); VECTORS];
            // SAFETY: the caller guarantees the rows and the depth.
            unsafe {
                for vector in 0..VECTORS {
                    columns[vector] = rhs.add(vector * S::F32_LANES).cast::<S::f32s>().read_unaligned();
                }
                for row in 0..ROWS {
                    let factor = simd.splat_f32s(*lhs.add(row * self.row));
                    for vector in 0..VECTORS {
                        sums[row][vector] = simd.mul_add_f32s(factor, columns[vector], sums[row][vector]);
                    }
                }
                // After the last step it may point far beyond the operand, so `add` would be undefined; nothing is read
                // there.
                lhs = lhs.wrapping_add(self.step);
                rhs = rhs.add(VECTORS * S::F32_LANES);
            }
        }
        for row in 0..ROWS {
            // SAFETY: as above; a row of the output has `columns` elements.
            unsafe {
                let target = self.output.add(row * self.output_row);
                if self.columns == VECTORS * S::F32_LANES {
                    self.store(simd, target, sums[row]);
                } else {
                    self.store_some::<S>(target, sums[row]);
                }
            }
        }
    }

    /// # Safety
    /// The row has a full panel's columns.
    #[inline(always)]
    unsafe fn store<S: Simd>(self, simd: S, target: *mut f32, sums: [S::f32s; VECTORS]) {
        for vector in 0..VECTORS {
            // SAFETY: the caller guarantees the columns. Adding −0.0 changes no value, where +0.0 would turn −0.0 into
            // +0.0: full panels give the bytes of `store_some`.
            unsafe {
                let target = target.add(vector * S::F32_LANES).cast::<S::f32s>();
                let before = if self.accumulate { target.read_unaligned() } else { simd.splat_f32s(-0.0) };
                target.write_unaligned(simd.add_f32s(before, sums[vector]));
            }
        }
    }

    /// # Safety
    /// The row has the slice's columns.
    #[inline(always)]
    unsafe fn store_some<S: Simd>(self, target: *mut f32, sums: [S::f32s; VECTORS]) {
        let mut line = [0_f32; MAX_WIDTH];
        S::as_mut_simd_f32s(&mut line).0[..VECTORS].copy_from_slice(&sums);
        // SAFETY: the caller guarantees the row, and no other reference to the output exists meanwhile.
        let target = unsafe { std::slice::from_raw_parts_mut(target, self.columns) };
        for (target, sum) in target.iter_mut().zip(line) {
            *target = if self.accumulate { *target + sum } else { sum };
        }
    }
}

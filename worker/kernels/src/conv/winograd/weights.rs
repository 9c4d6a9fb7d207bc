//! A weight in Winograd's domain, and the inverse transform for its gradient.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over constants keep the tile in registers; iterators do not"
)]

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::super::geometry::Geometry;
use super::PADDING;
use super::tile::{self, IN, POSITIONS, TAPS, Transform as _};
use super::tiles::Tiles;
use crate::gemm::{MAX_WIDTH, PanelLayout, Rhs};
use crate::lanes::{arch, load, store};
use crate::output::in_parts;
use crate::scratch::{self, Scratch};

/// Taps of a window.
const WINDOW: usize = TAPS * TAPS;
/// Steps along the depth that are gathered together, because they are neighbours in memory.
const STEPS: usize = 8;
/// Output channels of the weight's gradient that one task transforms.
const GRADIENT_COLUMNS: usize = 32;

/// A transformed weight: for each position a right operand, panel by panel.
pub(in crate::conv) struct Weights {
    /// [panels, positions, depth and one row of padding, width].
    elements: Scratch,
    layout: PanelLayout,
}

/// How the elements of an untransformed weight lie in memory.
#[derive(Clone, Copy)]
struct Source<'a> {
    weight: &'a [f32],
    /// Distance along the depth.
    step: usize,
    /// Distance between columns.
    column: usize,
    /// Whether the windows are rotated by 180°.
    turned: bool,
}

impl Weights {
    /// For the output: depth is the input's channels, columns the output's.
    pub(in crate::conv) fn forward(geometry: &Geometry, weight: &[f32]) -> Self {
        let (inputs, outputs) = (geometry.input.channels, geometry.output.channels);
        let source = Source { weight, step: WINDOW, column: inputs * WINDOW, turned: false };
        Self::new(PanelLayout::new(inputs, outputs), source)
    }

    /// For the input's gradient: depth is the output's channels, columns the input's; windows are rotated by 180°.
    pub(in crate::conv) fn adjoint(geometry: &Geometry, weight: &[f32]) -> Self {
        let (inputs, outputs) = (geometry.input.channels, geometry.output.channels);
        let source = Source { weight, step: inputs * WINDOW, column: WINDOW, turned: true };
        Self::new(PanelLayout::new(outputs, inputs), source)
    }

    fn new(layout: PanelLayout, source: Source<'_>) -> Self {
        let panel = POSITIONS * position_rows(layout.depth) * layout.width;
        let mut elements = scratch::take(layout.panels() * panel);
        elements.par_chunks_mut(panel).enumerate().for_each(|(panel, target)| {
            arch().dispatch(Transform { layout, source, first: panel * layout.width, target });
        });
        Self { elements, layout }
    }

    pub(super) fn rhs(&self, position: usize) -> Rhs<'_> {
        let rows = position_rows(self.layout.depth);
        let panel = POSITIONS * rows * self.layout.width;
        Rhs { elements: &self.elements, panel, first: position * rows, layout: self.layout }
    }
}

/// Transforms the columns of one panel.
struct Transform<'a> {
    layout: PanelLayout,
    source: Source<'a>,
    first: usize,
    target: &'a mut [f32],
}

impl WithSimd for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let PanelLayout { depth, columns, width } = self.layout;
        let used = width.min(columns - self.first);
        let stride = position_rows(depth) * width;
        let mut taps = [[[0_f32; MAX_WIDTH]; WINDOW]; STEPS];
        for first in (0..depth).step_by(STEPS) {
            let steps = STEPS.min(depth - first);
            for column in 0..used {
                self.source.gather(first, self.first + column, &mut taps[..steps], column);
            }
            for (p, taps) in (first..depth).zip(&taps[..steps]) {
                for lane in (0..width).step_by(S::F32_LANES) {
                    let mut window = [[simd.splat_f32s(0.0); TAPS]; TAPS];
                    for tap in 0..WINDOW {
                        window[tap / TAPS][tap % TAPS] = load(simd, &taps[tap], lane);
                    }
                    let values = tile::Weight::tile(simd, window);
                    for position in 0..POSITIONS {
                        let start = position * stride + p * width + lane;
                        store(simd, self.target, start, values[position / IN][position % IN]);
                    }
                }
            }
        }
    }
}

impl Source<'_> {
    /// Gathers one column's windows from `first` on, one step along the depth for each target.
    fn gather(&self, first: usize, column: usize, targets: &mut [[[f32; MAX_WIDTH]; WINDOW]], place: usize) {
        for (step, taps) in targets.iter_mut().enumerate() {
            let start = (first + step) * self.step + column * self.column;
            for (tap, value) in self.weight[start..start + WINDOW].iter().enumerate() {
                taps[if self.turned { WINDOW - 1 - tap } else { tap }][place] = *value;
            }
        }
    }
}

/// Rows of a position in a panel: one more than the depth, so that positions do not map to the same lines of the cache.
fn position_rows(depth: usize) -> usize {
    depth + 1
}

/// Elements from one position's sums to the next, padded for the same reason.
pub(super) fn sums_stride(inputs: usize, row: usize) -> usize {
    inputs * row + PADDING
}

/// Transforms sums [positions, in, out] with rows of `row` elements to the gradient [out, in, taps].
pub(super) fn gradient(tiles: &Tiles, sums: &[f32], row: usize) -> Vec<f32> {
    let inputs = tiles.inputs();
    let column = inputs * WINDOW;
    in_parts(tiles.outputs() * column, GRADIENT_COLUMNS * column, |task, result| {
        arch().dispatch(Gradient { inputs, sums, row, first: task * GRADIENT_COLUMNS, result });
    })
}

struct Gradient<'a> {
    inputs: usize,
    sums: &'a [f32],
    row: usize,
    first: usize,
    result: &'a mut [f32],
}

impl WithSimd for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let columns = self.result.len() / (self.inputs * WINDOW);
        let mut taps = [[0_f32; MAX_WIDTH]; WINDOW];
        for input in 0..self.inputs {
            for lane in (0..columns).step_by(S::F32_LANES) {
                let mut sums = [[simd.splat_f32s(0.0); IN]; IN];
                for position in 0..POSITIONS {
                    let line = position * sums_stride(self.inputs, self.row) + input * self.row + self.first;
                    sums[position / IN][position % IN] = load(simd, &self.sums[line..line + columns], lane);
                }
                let window = tile::WeightGradient::tile(simd, sums);
                for tap in 0..WINDOW {
                    store(simd, &mut taps[tap], lane, window[tap / TAPS][tap % TAPS]);
                }
            }
            for column in 0..columns {
                let start = (column * self.inputs + input) * WINDOW;
                for (value, taps) in self.result[start..start + WINDOW].iter_mut().zip(&taps) {
                    *value = taps[column];
                }
            }
        }
    }
}

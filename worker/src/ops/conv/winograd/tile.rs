//! The transforms F(2×2, 3×3) of one tile: Lavin and Gray 2016, section 4.1. Each works along one axis; a tile is
//! transformed along its rows and then its columns.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over constants keep the tile in registers; iterators do not"
)]

use pulp::Simd;

/// Output pixels of a tile along one axis.
pub(super) const OUT: usize = 2;
/// Input pixels of a tile along one axis.
pub(super) const IN: usize = OUT + 2;
/// Positions of a transformed tile.
pub(super) const POSITIONS: usize = IN * IN;
/// Taps of a window along one axis.
pub(super) const TAPS: usize = 3;

/// Applies a transform along both axes.
#[inline(always)]
pub(super) fn both<V: Copy, const N: usize, const M: usize>(
    zero: V,
    tile: [[V; N]; N],
    transform: impl Fn([V; N]) -> [V; M],
) -> [[V; M]; M] {
    let mut rows = [[zero; M]; N];
    for row in 0..N {
        rows[row] = transform(tile[row]);
    }
    let mut result = [[zero; M]; M];
    for column in 0..M {
        let mut line = [zero; N];
        for row in 0..N {
            line[row] = rows[row][column];
        }
        let line = transform(line);
        for row in 0..M {
            result[row][column] = line[row];
        }
    }
    result
}

/// Bᵀ d: of the image.
#[inline(always)]
pub(super) fn image<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; IN]) -> [S::f32s; IN] {
    [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
}

/// Aᵀ m: of the product, back to pixels.
#[inline(always)]
pub(super) fn product<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; IN]) -> [S::f32s; OUT] {
    let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
    [simd.add_f32s(a, sum), simd.sub_f32s(difference, d)]
}

/// A g: of the output's gradient.
#[inline(always)]
pub(super) fn gradient<S: Simd>(simd: S, [a, b]: [S::f32s; OUT]) -> [S::f32s; IN] {
    [a, simd.add_f32s(a, b), simd.sub_f32s(a, b), simd.neg_f32s(b)]
}

/// G w: of the weight.
#[inline(always)]
pub(super) fn weight<S: Simd>(simd: S, [a, b, c]: [S::f32s; TAPS]) -> [S::f32s; IN] {
    let half = simd.splat_f32s(0.5);
    let outer = simd.add_f32s(a, c);
    let sum = simd.mul_f32s(simd.add_f32s(outer, b), half);
    let difference = simd.mul_f32s(simd.sub_f32s(outer, b), half);
    [a, sum, difference, c]
}

/// Gᵀ u: of the weight's gradient, back to taps.
#[inline(always)]
pub(super) fn weight_gradient<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; IN]) -> [S::f32s; TAPS] {
    let half = simd.splat_f32s(0.5);
    let sum = simd.mul_f32s(simd.add_f32s(b, c), half);
    let difference = simd.mul_f32s(simd.sub_f32s(b, c), half);
    [simd.add_f32s(a, sum), difference, simd.add_f32s(sum, d)]
}

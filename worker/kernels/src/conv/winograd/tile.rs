//! The transforms F(4×4, 3×3) of one tile: Lavin and Gray 2016, section 4.1. Each works along one axis; a tile is
//! transformed along its rows and then its columns.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over constants keep the tile in registers; iterators do not"
)]

use pulp::Simd;

/// Output pixels of a tile along one axis. Tiles of 4×4 pixels take half the multiplications of 2×2.
pub(super) const OUT: usize = 4;
/// Input pixels of a tile along one axis.
pub(super) const IN: usize = OUT + 2;
/// Positions of a transformed tile.
pub(super) const POSITIONS: usize = IN * IN;
/// Taps of a window along one axis.
pub(super) const TAPS: usize = 3;

/// A transform along one axis, from `N` to `M` values.
pub(super) trait Transform<const N: usize, const M: usize> {
    /// Transforms a line of vectors, each lane on its own.
    fn line<S: Simd>(simd: S, line: [S::f32s; N]) -> [S::f32s; M];

    /// Transforms a tile along both axes.
    #[inline(always)]
    fn tile<S: Simd>(simd: S, tile: [[S::f32s; N]; N]) -> [[S::f32s; M]; M] {
        let zero = simd.splat_f32s(0.0);
        let mut rows = [[zero; M]; N];
        for row in 0..N {
            rows[row] = Self::line(simd, tile[row]);
        }
        let mut result = [[zero; M]; M];
        for column in 0..M {
            let mut line = [zero; N];
            for row in 0..N {
                line[row] = rows[row][column];
            }
            let line = Self::line(simd, line);
            for row in 0..M {
                result[row][column] = line[row];
            }
        }
        result
    }
}

/// The interpolation points are 0, ±A, ±B and infinity. With these values the error stays near that of a direct sum; the
/// usual points 1 and 2 at least double it.
const A: f32 = 0.75;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
/// Denominators.
const FA: f32 = 2.0 * A2 * (A2 - B2);
const FB: f32 = 2.0 * B2 * (B2 - A2);

/// factor · x.
#[inline(always)]
fn scaled<S: Simd>(simd: S, factor: f32, x: S::f32s) -> S::f32s {
    simd.mul_f32s(simd.splat_f32s(factor), x)
}

/// factor · x + y, fused.
#[inline(always)]
fn scaled_add<S: Simd>(simd: S, factor: f32, x: S::f32s, y: S::f32s) -> S::f32s {
    simd.mul_add_f32s(simd.splat_f32s(factor), x, y)
}

/// Bᵀ d: transforms the image.
pub(super) struct Image;

impl Transform<IN, IN> for Image {
    #[inline(always)]
    fn line<S: Simd>(simd: S, d: [S::f32s; IN]) -> [S::f32s; IN] {
        let even_a = scaled_add(simd, -B2, d[2], d[4]);
        let odd_a = scaled_add(simd, -B2, d[1], d[3]);
        let even_b = scaled_add(simd, -A2, d[2], d[4]);
        let odd_b = scaled_add(simd, -A2, d[1], d[3]);
        let first = scaled_add(simd, A2 * B2, d[0], scaled_add(simd, -(A2 + B2), d[2], d[4]));
        let last = scaled_add(simd, A2 * B2, d[1], scaled_add(simd, -(A2 + B2), d[3], d[5]));
        [
            first,
            scaled_add(simd, A, odd_a, even_a),
            scaled_add(simd, -A, odd_a, even_a),
            scaled_add(simd, B, odd_b, even_b),
            scaled_add(simd, -B, odd_b, even_b),
            last,
        ]
    }
}

/// Aᵀ m: transforms the matrix product back to pixels.
pub(super) struct Output;

impl Transform<IN, OUT> for Output {
    #[inline(always)]
    fn line<S: Simd>(simd: S, m: [S::f32s; IN]) -> [S::f32s; OUT] {
        let (sum_a, difference_a) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
        let (sum_b, difference_b) = (simd.add_f32s(m[3], m[4]), simd.sub_f32s(m[3], m[4]));
        [
            simd.add_f32s(m[0], simd.add_f32s(sum_a, sum_b)),
            scaled_add(simd, B, difference_b, scaled(simd, A, difference_a)),
            scaled_add(simd, B2, sum_b, scaled(simd, A2, sum_a)),
            scaled_add(simd, B * B2, difference_b, scaled_add(simd, A * A2, difference_a, m[5])),
        ]
    }
}

/// A g: transforms the output's gradient.
pub(super) struct Gradient;

impl Transform<OUT, IN> for Gradient {
    #[inline(always)]
    fn line<S: Simd>(simd: S, g: [S::f32s; OUT]) -> [S::f32s; IN] {
        let (even_a, even_b) = (scaled_add(simd, A2, g[2], g[0]), scaled_add(simd, B2, g[2], g[0]));
        let (odd_a, odd_b) = (scaled_add(simd, A2, g[3], g[1]), scaled_add(simd, B2, g[3], g[1]));
        [
            g[0],
            scaled_add(simd, A, odd_a, even_a),
            scaled_add(simd, -A, odd_a, even_a),
            scaled_add(simd, B, odd_b, even_b),
            scaled_add(simd, -B, odd_b, even_b),
            g[3],
        ]
    }
}

/// G w: transforms the weight.
pub(super) struct Weight;

impl Transform<TAPS, IN> for Weight {
    #[inline(always)]
    fn line<S: Simd>(simd: S, w: [S::f32s; TAPS]) -> [S::f32s; IN] {
        let even_a = scaled(simd, 1.0 / FA, scaled_add(simd, A2, w[2], w[0]));
        let even_b = scaled(simd, 1.0 / FB, scaled_add(simd, B2, w[2], w[0]));
        [
            scaled(simd, 1.0 / (A2 * B2), w[0]),
            scaled_add(simd, A / FA, w[1], even_a),
            scaled_add(simd, -A / FA, w[1], even_a),
            scaled_add(simd, B / FB, w[1], even_b),
            scaled_add(simd, -B / FB, w[1], even_b),
            w[2],
        ]
    }
}

/// Gᵀ u: transforms the weight's gradient back to taps.
pub(super) struct WeightGradient;

impl Transform<IN, TAPS> for WeightGradient {
    #[inline(always)]
    fn line<S: Simd>(simd: S, u: [S::f32s; IN]) -> [S::f32s; TAPS] {
        let (sum_a, difference_a) = (simd.add_f32s(u[1], u[2]), simd.sub_f32s(u[1], u[2]));
        let (sum_b, difference_b) = (simd.add_f32s(u[3], u[4]), simd.sub_f32s(u[3], u[4]));
        let both = scaled_add(simd, 1.0 / FB, sum_b, scaled(simd, 1.0 / FA, sum_a));
        [
            scaled_add(simd, 1.0 / (A2 * B2), u[0], both),
            scaled_add(simd, B / FB, difference_b, scaled(simd, A / FA, difference_a)),
            scaled_add(simd, B2 / FB, sum_b, scaled_add(simd, A2 / FA, sum_a, u[5])),
        ]
    }
}

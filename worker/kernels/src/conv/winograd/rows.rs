//! Transforms of many tiles: a vector holds neighbouring channels of one pixel.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over constants keep the tile in registers; iterators do not"
)]

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::tile::{self, IN, OUT, POSITIONS, Transform};
use super::tiles::{Block, Tiles};
use crate::gemm::PanelLayout;
use crate::lanes::{arch, load, store};

/// Transforms tiles of the image into [positions, tiles, in] with rows of `row` elements.
pub(super) fn transform_image(tiles: &Tiles, range: Range<usize>, x: &[f32], target: &mut [f32], row: usize) {
    arch().dispatch(Image { tiles, range, x, target, row });
}

/// Transforms tiles of the output's gradient into panels [tiles, out] for each position.
pub(super) fn transform_gradient(
    tiles: &Tiles,
    range: Range<usize>,
    gradient: &[f32],
    target: &mut [f32],
    layout: PanelLayout,
) {
    arch().dispatch(Gradient { tiles, range, gradient, target, layout });
}

/// Transforms matrix products [positions, tiles, out] with rows of `row` elements back into the block's pixels.
pub(super) fn transform_product(
    tiles: &Tiles,
    block: &Block,
    product: &[f32],
    row: usize,
    output: &mut [f32],
) {
    arch().dispatch(Gemm { tiles, block, product, row, output });
}

struct Image<'a> {
    tiles: &'a Tiles,
    range: Range<usize>,
    x: &'a [f32],
    target: &'a mut [f32],
    row: usize,
}

impl WithSimd for Image<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.tiles.inputs();
        let zeros = vec![0_f32; channels];
        let positions = split::<POSITIONS>(self.target, self.range.len() * self.row);
        for (number, tile) in self.range.enumerate() {
            let place = self.tiles.place(tile);
            let number_of = |down, right| self.tiles.input_pixel(place, down, right);
            let pixels: [[&[f32]; IN]; IN] = pixels(self.x, &zeros, number_of);
            let start = number * self.row;
            for channel in (0..channels).step_by(S::F32_LANES) {
                let values = load_tile(simd, &pixels, channel);
                let values = tile::Image::tile(simd, values);
                for position in 0..POSITIONS {
                    let target = &mut positions[position][..start + channels];
                    store(simd, target, start + channel, values[position / IN][position % IN]);
                }
            }
        }
    }
}

struct Gradient<'a> {
    tiles: &'a Tiles,
    range: Range<usize>,
    gradient: &'a [f32],
    target: &'a mut [f32],
    layout: PanelLayout,
}

impl WithSimd for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.tiles.outputs();
        let zeros = vec![0_f32; channels];
        let PanelLayout { width, .. } = self.layout;
        let positions = split::<POSITIONS>(self.target, self.layout.len());
        for (number, tile) in self.range.enumerate() {
            let place = self.tiles.place(tile);
            let number_of = |down, right| self.tiles.output_pixel(place, down, right);
            let pixels: [[&[f32]; OUT]; OUT] = pixels(self.gradient, &zeros, number_of);
            for channel in (0..self.layout.panels() * width).step_by(S::F32_LANES) {
                let values = load_tile(simd, &pixels, channel);
                let values = tile::Gradient::tile(simd, values);
                let start = channel / width * self.layout.panel_len() + number * width + channel % width;
                for position in 0..POSITIONS {
                    store(simd, positions[position], start, values[position / IN][position % IN]);
                }
            }
        }
    }
}

struct Gemm<'a> {
    tiles: &'a Tiles,
    block: &'a Block,
    product: &'a [f32],
    row: usize,
    /// The block's pixels.
    output: &'a mut [f32],
}

impl WithSimd for Gemm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.tiles.outputs();
        let Block { tiles: range, first_pixel, .. } = self.block;
        let position = range.len() * self.row;
        for (number, tile) in range.clone().enumerate() {
            let place = self.tiles.place(tile);
            let products: [[&[f32]; IN]; IN] = std::array::from_fn(|down| {
                std::array::from_fn(|right| {
                    &self.product[(down * IN + right) * position + number * self.row..][..channels]
                })
            });
            let pixels: [[Option<usize>; OUT]; OUT] = std::array::from_fn(|down| {
                std::array::from_fn(|right| self.tiles.output_pixel(place, down, right))
            });
            for channel in (0..channels).step_by(S::F32_LANES) {
                let values = load_tile(simd, &products, channel);
                let values = tile::Output::tile(simd, values);
                for pixel in 0..OUT * OUT {
                    if let Some(number) = pixels[pixel / OUT][pixel % OUT] {
                        let start = (number - first_pixel) * channels;
                        let target = &mut self.output[..start + channels];
                        store(simd, target, start + channel, values[pixel / OUT][pixel % OUT]);
                    }
                }
            }
        }
    }
}

/// The channels of a tile's pixels by their pixel index; zeros for pixels outside the image.
fn pixels<'a, const N: usize>(
    image: &'a [f32],
    zeros: &'a [f32],
    number_of: impl Fn(usize, usize) -> Option<usize>,
) -> [[&'a [f32]; N]; N] {
    let channels = zeros.len();
    let pixel =
        |down, right| number_of(down, right).map_or(zeros, |number| &image[number * channels..][..channels]);
    std::array::from_fn(|down| std::array::from_fn(|right| pixel(down, right)))
}

/// The vectors of a tile's pixels from `channel` on.
#[inline(always)]
fn load_tile<S: Simd, const N: usize>(
    simd: S,
    pixels: &[[&[f32]; N]; N],
    channel: usize,
) -> [[S::f32s; N]; N] {
    let mut values = [[simd.splat_f32s(0.0); N]; N];
    for down in 0..N {
        for right in 0..N {
            values[down][right] = load(simd, pixels[down][right], channel);
        }
    }
    values
}

/// Splits off `N` parts of `len` elements.
fn split<const N: usize>(mut elements: &mut [f32], len: usize) -> [&mut [f32]; N] {
    std::array::from_fn(|_| {
        let (part, rest) = std::mem::take(&mut elements).split_at_mut(len);
        elements = rest;
        part
    })
}

//! 3×3 convolutions in Winograd's domain (Lavin and Gray, "Fast algorithms for convolutional neural networks",
//! CVPR 2016): tiles of the image and the weight are transformed, multiplied position by position as matrices
//! [tiles, in] × [in, out], and transformed back.
//!
//! Tiles are handled in blocks that stay in the cache; one thread computes a block from input to output. The weight's
//! gradient is the adjoint of the same matrix product: transformed tiles of the image, transposed, times those of the
//! output's gradient.

mod rows;
mod tile;
mod tiles;
mod weights;

use rayon::prelude::*;

use super::geometry::Geometry;
use crate::gemm::{Lhs, Output, PanelLayout, multiply};
use crate::interruption::Interruption;
use crate::output::in_parts_of;
use crate::scratch;
use tile::POSITIONS;
use tiles::Tiles;
pub(super) use weights::Weights;

/// Tiles of a block: enough that the weight's transform is seldom read again, few enough for the cache.
const BLOCK: usize = 96;
/// Tiles whose products form one slice of the weight's gradient. It fixes the order of addition, so a change of it
/// changes results.
const GRADIENT_SLICE: usize = 64;
/// Slices that are transformed before they are multiplied.
const GRADIENT_SLICES: usize = 8;
/// Elements that are added to each row, so that successive rows do not map to the same cache lines.
const PADDING: usize = 16;

fn padded(channels: usize) -> usize {
    channels.next_multiple_of(16) + PADDING
}

/// y = conv(x, weight), given the weight's transform.
pub(super) fn convolve(geometry: &Geometry, x: &[f32], weights: &Weights) -> Vec<f32> {
    let tiles = Tiles::new(geometry);
    let wanted = tiles.count().div_ceil(rayon::current_num_threads()).min(BLOCK);
    let blocks = tiles.blocks(wanted);
    let lens: Vec<usize> = blocks.iter().map(|block| block.pixels * tiles.outputs()).collect();
    in_parts_of(&lens, |number, y| convolve_block(&tiles, &blocks[number], x, weights, y))
}

fn convolve_block(tiles: &Tiles, block: &tiles::Block, x: &[f32], weights: &Weights, y: &mut [f32]) {
    let count = block.tiles.len();
    let (inputs, outputs) = (padded(tiles.inputs()), padded(tiles.outputs()));
    let mut image = scratch::take(POSITIONS * count * inputs);
    rows::transform_image(tiles, block.tiles.clone(), x, &mut image, inputs);
    let mut product = scratch::take(POSITIONS * count * outputs);
    let positions = product.chunks_exact_mut(count * outputs).zip(image.chunks_exact(count * inputs));
    for (position, (product, image)) in positions.enumerate() {
        let output = Output { elements: product, row: outputs, accumulate: false };
        multiply(count, Lhs::rows(image, inputs), weights.rhs(position), output);
    }
    rows::transform_product(tiles, block, &product, outputs, y);
}

/// The weight's gradient [out, in, 3, 3] from the image and the output's gradient.
pub(super) fn weight_gradient(geometry: &Geometry, x: &[f32], gradient: &[f32]) -> Vec<f32> {
    let tiles = Tiles::new(geometry);
    let (inputs, outputs) = (tiles.inputs(), padded(tiles.outputs()));
    let mut sums = scratch::take(POSITIONS * weights::sums_stride(inputs, outputs));
    let slices: Vec<usize> = (0..tiles.count()).step_by(GRADIENT_SLICE).collect();
    let interruption = Interruption::current();
    for (number, starts) in slices.chunks(GRADIENT_SLICES).enumerate() {
        if interruption.is_raised() {
            break;
        }
        let slices: Vec<GradientSlice> =
            starts.par_iter().map(|&start| GradientSlice::new(&tiles, start, x, gradient)).collect();
        sums.par_chunks_mut(weights::sums_stride(inputs, outputs)).enumerate().for_each(
            |(position, sums)| {
                for (later, slice) in slices.iter().enumerate() {
                    let output =
                        Output { elements: &mut *sums, row: outputs, accumulate: number + later > 0 };
                    slice.multiply(inputs, position, output);
                }
            },
        );
    }
    weights::gradient(&tiles, &sums, outputs)
}

/// Both operands of a slice of the weight's gradient.
struct GradientSlice {
    count: usize,
    /// [positions, tiles, in].
    image: scratch::Scratch,
    row: usize,
    /// Panels [tiles, out] for each position.
    gradient: scratch::Scratch,
    layout: PanelLayout,
}

impl GradientSlice {
    fn new(tiles: &Tiles, start: usize, x: &[f32], gradient: &[f32]) -> Self {
        let range = start..tiles.count().min(start + GRADIENT_SLICE);
        let (count, row) = (range.len(), padded(tiles.inputs()));
        let layout = PanelLayout::new(count, tiles.outputs());
        let mut slice = Self {
            count,
            image: scratch::take(POSITIONS * count * row),
            row,
            gradient: scratch::take(POSITIONS * layout.len()),
            layout,
        };
        rows::transform_image(tiles, range.clone(), x, &mut slice.image, row);
        rows::transform_gradient(tiles, range, gradient, &mut slice.gradient, layout);
        slice
    }

    fn multiply(&self, inputs: usize, position: usize, output: Output<'_>) {
        let image = &self.image[position * self.count * self.row..][..self.count * self.row];
        let gradient = &self.gradient[position * self.layout.len()..][..self.layout.len()];
        multiply(inputs, Lhs::transposed(image, self.row), self.layout.rhs(gradient), output);
    }
}

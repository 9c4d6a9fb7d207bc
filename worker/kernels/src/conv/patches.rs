//! Convolutions of any kind as matrix products: a row for each output pixel with the elements under its window, a
//! column for each output channel. Rows are gathered a block at a time, as all of them would take several times the
//! input's memory.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use crate::gemm::{Lhs, Output, Panels, SLICE, multiply, product};
use crate::interruption::Interruption;
use crate::output::in_parts;
use crate::scratch;

/// Most output pixels whose windows are gathered at once, and most elements under them.
const BLOCK: usize = 192;
const BLOCK_ELEMENTS: usize = 1 << 21;
/// Rows of the weight's gradient that one task computes.
const TASK_DEPTH: usize = 48;

/// y = conv(x, weight).
pub(super) fn forward(geometry: &Geometry, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let (depth, outputs, row) = (geometry.depth(), geometry.group_outputs(), geometry.output.channels);
    if geometry.is_pointwise() {
        return product(geometry.output_pixels(), Lhs::rows(x, depth), pack(geometry, weight).rhs());
    }
    let groups: Vec<Panels> =
        weight.chunks_exact(outputs * depth).map(|weight| pack(geometry, weight)).collect();
    let block_size = block_size(depth);
    in_parts(geometry.output_len(), block_size * row, |block, y| {
        let pixels = block * block_size..block * block_size + y.len() / row;
        let mut patches = scratch::take(pixels.len() * depth);
        for (group, panels) in groups.iter().enumerate() {
            gather(geometry, x, group, pixels.clone(), 0..geometry.window.taps(), &mut patches);
            let output = Output { elements: &mut y[group * outputs..], row, accumulate: false };
            multiply(pixels.len(), Lhs::rows(&patches, depth), panels.rhs(), output);
        }
    })
}

fn block_size(depth: usize) -> usize {
    (BLOCK_ELEMENTS / depth.max(1)).clamp(1, BLOCK)
}

/// The input's gradient: the matrix product with the transposed weight, its rows added back under their windows.
pub(super) fn input_gradient(geometry: &Geometry, weight: &[f32], gradient: &[f32]) -> Vec<f32> {
    let (depth, outputs, row) = (geometry.depth(), geometry.group_outputs(), geometry.output.channels);
    if geometry.is_pointwise() {
        let panels = pack_transposed(geometry, weight);
        return product(geometry.output_pixels(), Lhs::rows(gradient, row), panels.rhs());
    }
    let groups: Vec<Panels> =
        weight.chunks_exact(outputs * depth).map(|weight| pack_transposed(geometry, weight)).collect();
    let (pixels, block_size) = (geometry.output.pixels(), block_size(depth));
    let interruption = Interruption::current();
    in_parts(geometry.input_len(), geometry.input.len(), |image, result| {
        result.fill(0.0);
        let mut patches = scratch::take(block_size.min(pixels) * depth);
        for (group, panels) in groups.iter().enumerate() {
            for first in (0..pixels).step_by(block_size) {
                if interruption.is_raised() {
                    return;
                }
                let block = first..pixels.min(first + block_size);
                let start = (image * pixels + first) * row + group * outputs;
                let lhs = Lhs { elements: &gradient[start..], row, step: 1 };
                let output = Output { elements: &mut patches, row: depth, accumulate: false };
                multiply(block.len(), lhs, panels.rhs(), output);
                scatter(geometry, &patches, group, block, result);
            }
        }
    })
}

/// The weight's gradient: for each tap, the matrix product of the input under it, transposed, with the output's
/// gradient.
pub(super) fn weight_gradient(geometry: &Geometry, x: &[f32], gradient: &[f32]) -> Vec<f32> {
    let mut result = vec![0_f32; geometry.weight_len()];
    let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
    let (pixels, row) = (geometry.output_pixels(), geometry.output.channels);
    let taps = geometry.window.taps();
    let taps_of_task = TASK_DEPTH.div_ceil(inputs).min(taps);
    let interruption = Interruption::current();
    for group in 0..geometry.options.groups {
        let panels = Panels::pack(pixels, outputs, |pixel, first, target| {
            let start = pixel * row + group * outputs + first;
            target.copy_from_slice(&gradient[start..start + target.len()]);
        });
        let mut by_tap = scratch::take(geometry.depth() * outputs);
        by_tap.par_chunks_mut(taps_of_task * inputs * outputs).enumerate().for_each(|(task, sums)| {
            let first = task * taps_of_task;
            let taps = first..taps.min(first + taps_of_task);
            sum_over_pixels(geometry, x, group, taps, &panels, sums, &interruption);
        });
        from_taps(geometry, group, &by_tap, &mut result);
    }
    result
}

/// Sums [taps, in, out] over all pixels, slice by slice, unless the pass is interrupted.
fn sum_over_pixels(
    geometry: &Geometry,
    x: &[f32],
    group: usize,
    taps: Range<usize>,
    panels: &Panels,
    sums: &mut [f32],
    interruption: &Interruption,
) {
    let (depth, outputs) = (taps.len() * geometry.group_inputs(), geometry.group_outputs());
    let mut patches = scratch::take(SLICE * depth);
    for first in (0..geometry.output_pixels()).step_by(SLICE) {
        if interruption.is_raised() {
            return;
        }
        let pixels = first..geometry.output_pixels().min(first + SLICE);
        gather(geometry, x, group, pixels.clone(), taps.clone(), &mut patches);
        let output = Output { elements: &mut *sums, row: outputs, accumulate: first > 0 };
        multiply(depth, Lhs::transposed(&patches, depth), panels.rhs().slice(pixels), output);
    }
}

/// Rearranges [taps, in, out] to the weight's own layout [out, in, taps].
fn from_taps(geometry: &Geometry, group: usize, by_tap: &[f32], result: &mut [f32]) {
    let (inputs, outputs, taps) = (geometry.group_inputs(), geometry.group_outputs(), geometry.window.taps());
    let group = &mut result[group * outputs * geometry.depth()..][..outputs * geometry.depth()];
    group.par_chunks_mut(geometry.depth()).enumerate().for_each(|(output, target)| {
        for (input, target) in target.chunks_exact_mut(taps).enumerate() {
            for (tap, value) in target.iter_mut().enumerate() {
                *value = by_tap[(tap * inputs + input) * outputs + output];
            }
        }
    });
}

/// A group's weight [out, in, taps] as right operand [(tap, in), out].
fn pack(geometry: &Geometry, weight: &[f32]) -> Panels {
    let (inputs, taps, depth) = (geometry.group_inputs(), geometry.window.taps(), geometry.depth());
    Panels::pack(depth, geometry.group_outputs(), |p, first, target| {
        let number = p % inputs * taps + p / inputs;
        for (j, value) in target.iter_mut().enumerate() {
            *value = weight[(first + j) * depth + number];
        }
    })
}

/// A group's weight [out, in, taps] as right operand [out, (tap, in)].
fn pack_transposed(geometry: &Geometry, weight: &[f32]) -> Panels {
    let (inputs, taps, depth) = (geometry.group_inputs(), geometry.window.taps(), geometry.depth());
    Panels::pack(geometry.group_outputs(), depth, |p, first, target| {
        for (j, value) in target.iter_mut().enumerate() {
            let (tap, input) = ((first + j) / inputs, (first + j) % inputs);
            *value = weight[p * depth + input * taps + tap];
        }
    })
}

/// The input's channels of a group under some taps of some output pixels, [pixels, taps, in]; zeros in the padding.
fn gather(
    geometry: &Geometry,
    x: &[f32],
    group: usize,
    pixels: Range<usize>,
    taps: Range<usize>,
    target: &mut [f32],
) {
    let inputs = geometry.group_inputs();
    let mut pieces = target.chunks_exact_mut(inputs);
    for pixel in pixels {
        let (image, place) = (pixel / geometry.output.pixels(), pixel % geometry.output.pixels());
        for (tap, piece) in taps.clone().zip(&mut pieces) {
            match geometry.source_pixel(place, tap) {
                Some(source) => {
                    let start =
                        image * geometry.input.len() + source * geometry.input.channels + group * inputs;
                    piece.copy_from_slice(&x[start..start + inputs]);
                }
                None => piece.fill(0.0),
            }
        }
    }
}

/// Adds [pixels, taps, in] to the pixels of the image that they were gathered from.
fn scatter(geometry: &Geometry, patches: &[f32], group: usize, pixels: Range<usize>, image: &mut [f32]) {
    let inputs = geometry.group_inputs();
    let mut pieces = patches.chunks_exact(inputs);
    for place in pixels {
        for (tap, piece) in (0..geometry.window.taps()).zip(&mut pieces) {
            if let Some(source) = geometry.source_pixel(place, tap) {
                let start = source * geometry.input.channels + group * inputs;
                let target = &mut image[start..start + inputs];
                target.iter_mut().zip(piece).for_each(|(sum, value)| *sum += value);
            }
        }
    }
}

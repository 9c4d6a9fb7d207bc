//! Resizes images as Pillow and, with it, torchvision do: each pixel of the result is a weighted mean over all source pixels that
//! it covers, along the rows and along the columns. The weights are a convolution kernel (R. G. Keys 1981 for the
//! bicubic one), stretched by the scale where an image shrinks, so that no source pixel is left out.
//!
//! Weights are made in f64 by + − × ÷ alone and rounded to whole numbers; the sums are those of integers. So the pixels are
//! the same on every machine.

use serde::Deserialize;

use super::header::Value;

/// Fraction bits of a weight: with 8 bits of a value and some for the sum they stay within 32 bits, as in Pillow.
const BITS: u32 = 22;

/// The kernel that weights come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Interpolation {
    /// A triangle.
    #[default]
    Bilinear,
    /// Keys' cubic with a = −1/2.
    Bicubic,
}

impl Interpolation {
    /// Distance from the centre beyond which the kernel is 0, in pixels of the coarser of both images.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            _ => 0.0,
        }
    }
}

/// The source pixels that a target pixel is the mean of: the first one, and the weights in units of 2^-BITS.
struct Window {
    first: usize,
    weights: Vec<i64>,
}

fn windows(source: usize, target: usize, kernel: Interpolation) -> Vec<Window> {
    let scale = source as f64 / target as f64;
    let stretch = scale.max(1.0);
    // A factor instead of a divisor, as in Pillow: the last bits of the weights decide which way sums are rounded.
    let shrink = 1.0 / stretch;
    let support = kernel.support() * stretch;
    let window = |index: usize| {
        let centre = (index as f64 + 0.5) * scale;
        // Conversions of floats cut towards zero, which rounds numbers that are not negative down.
        let first = ((centre - support + 0.5).max(0.0) as usize).min(source - 1);
        let end = ((centre + support + 0.5) as usize).clamp(first + 1, source);
        let weight = |place: usize| kernel.weight((place as f64 - centre + 0.5) * shrink);
        let sum: f64 = (first..end).map(weight).sum();
        let fixed = |place: usize| {
            let exact = weight(place) / sum * f64::from(1_u32 << BITS);
            (exact + if exact < 0.0 { -0.5 } else { 0.5 }) as i64
        };
        Window { first, weights: (first..end).map(fixed).collect() }
    };
    (0..target).map(window).collect()
}

/// Bytes that the windows of a resized image take, at most.
pub(super) fn work(from: [usize; 2], to: [usize; 2]) -> u64 {
    let side = |from: usize, to: usize| 5 * (from.max(to) as u64 + 4) * 8 + 48 * to as u64;
    side(from[0], to[0]) + side(from[1], to[1])
}

/// Resizes pixels [height, width, channels] to another height and width; all are at least 1.
pub(super) fn resized<T: Value>(
    pixels: Vec<T>,
    from: [usize; 2],
    to: [usize; 2],
    channels: usize,
    kernel: Interpolation,
) -> Vec<T> {
    let ([height, width], [rows, columns]) = (from, to);
    let along_rows = |pixels: Vec<T>| match columns == width {
        true => pixels,
        false => along_rows(&pixels, width, columns, channels, kernel),
    };
    let along_columns = |pixels: Vec<T>, width: usize| match rows == height {
        true => pixels,
        false => along_columns(&pixels, [height, rows], width * channels, kernel),
    };
    // The smaller image in between, as in Pillow 13: its rounding is part of the result.
    if rows * width < height * columns {
        along_rows(along_columns(pixels, width))
    } else {
        along_columns(along_rows(pixels), columns)
    }
}

/// Rounds a sum of weighted values.
fn rounded<T: Value>(sum: i64) -> T {
    T::nearest((sum + (1 << (BITS - 1))) >> BITS)
}

fn along_rows<T: Value>(
    pixels: &[T],
    width: usize,
    columns: usize,
    channels: usize,
    kernel: Interpolation,
) -> Vec<T> {
    let windows = windows(width, columns, kernel);
    let rows = pixels.chunks_exact(width * channels);
    let mut resized = Vec::with_capacity(rows.len() * columns * channels);
    for row in rows {
        for Window { first, weights } in &windows {
            for channel in 0..channels {
                let values = row[first * channels + channel..].iter().step_by(channels);
                let sum = weights.iter().zip(values).map(|(weight, value)| weight * value.number()).sum();
                resized.push(rounded(sum));
            }
        }
    }
    resized
}

/// `row` is the number of values of a row.
fn along_columns<T: Value>(
    pixels: &[T],
    [height, rows]: [usize; 2],
    row: usize,
    kernel: Interpolation,
) -> Vec<T> {
    let mut resized = Vec::with_capacity(rows * row);
    let mut sums = vec![0_i64; row];
    for Window { first, weights } in windows(height, rows, kernel) {
        sums.fill(0);
        for (weight, values) in weights.iter().zip(pixels[first * row..].chunks_exact(row)) {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value.number());
        }
        resized.extend(sums.iter().map(|&sum| rounded::<T>(sum)));
    }
    resized
}

#[cfg(test)]
mod tests;

//! Sums over the rows of a matrix `[rows, c]`, one for each channel.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::ops::lanes::arch;

/// Rows of a block; part of the definition of the sums.
const BLOCK: usize = 256;

/// For each channel the sums of two quantities over all rows, in f64: first all of the one, then all of the other.
///
/// `terms` is given rows, row-major, and a target for the sums over them, which it adds to row by row.
pub(super) fn sums(
    rows: usize,
    channels: usize,
    terms: impl Fn(std::ops::Range<usize>, &mut [f64]) + Sync,
) -> Vec<f64> {
    let blocks: Vec<usize> = (0..rows).step_by(BLOCK).collect();
    let of_block = |&first: &usize| {
        let mut sums = vec![0_f64; 2 * channels];
        arch().dispatch(Block { terms: &terms, rows: first..rows.min(first + BLOCK), sums: &mut sums });
        sums
    };
    let partial: Vec<Vec<f64>> = blocks.par_iter().map(of_block).collect();
    let mut total = vec![0_f64; 2 * channels];
    for sums in partial {
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    total
}

struct Block<'a, F> {
    terms: &'a F,
    rows: std::ops::Range<usize>,
    sums: &'a mut [f64],
}

impl<F: Fn(std::ops::Range<usize>, &mut [f64])> WithSimd for Block<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        (self.terms)(self.rows, self.sums);
    }
}

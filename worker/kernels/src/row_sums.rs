//! Sums over the rows of a matrix, in f64 over fixed blocks of rows, which are added in their order.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::lanes::arch;

/// Rows of a block. It fixes the order of addition, so a change of it changes results.
const BLOCK: usize = 256;

/// Computes `len` sums over all rows. `terms` gets a range of rows and their partial sums, to which it adds row by row.
pub(super) fn row_sums(rows: usize, len: usize, terms: impl Fn(Range<usize>, &mut [f64]) + Sync) -> Vec<f64> {
    let of_block = |first: usize| {
        let mut sums = vec![0_f64; len];
        arch().dispatch(Block { terms: &terms, rows: first..rows.min(first + BLOCK), sums: &mut sums });
        sums
    };
    let blocks: Vec<usize> = (0..rows).step_by(BLOCK).collect();
    let partial: Vec<Vec<f64>> = blocks.into_par_iter().map(of_block).collect();
    let mut total = vec![0_f64; len];
    for sums in partial {
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    total
}

struct Block<'a, F> {
    terms: &'a F,
    rows: Range<usize>,
    sums: &'a mut [f64],
}

impl<F: Fn(Range<usize>, &mut [f64])> WithSimd for Block<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        (self.terms)(self.rows, self.sums);
    }
}

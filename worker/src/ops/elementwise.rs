//! Functions of single numbers over whole tensors.

use rayon::prelude::*;

use super::lanes::arch;
use super::output::written;

/// Numbers that one task takes.
const TASK: usize = 1 << 15;

/// The function of the numbers at each place of operands of equal length.
pub(super) fn elementwise<const N: usize>(
    operands: [&[f32]; N],
    function: impl Fn([f32; N]) -> f32 + Sync,
) -> Vec<f32> {
    let len = operands.iter().map(|operand| operand.len()).min().unwrap_or(0);
    let task = |(task, result): (usize, &mut [f32])| {
        arch().dispatch(|| {
            let operands = operands.map(|operand| &operand[task * TASK..][..result.len()]);
            for (place, result) in result.iter_mut().enumerate() {
                *result = function(operands.map(|operand| operand[place]));
            }
        });
    };
    written(len, |result| result.par_chunks_mut(TASK).enumerate().for_each(task))
}

//! Functions of single numbers over whole tensors.

use rayon::prelude::*;

use super::lanes::arch;

/// Numbers that one task takes.
const TASK: usize = 1 << 15;

/// The function of the numbers at each place of operands of equal length.
pub(super) fn elementwise<const N: usize>(
    operands: [&[f32]; N],
    function: impl Fn([f32; N]) -> f32 + Sync,
) -> Vec<f32> {
    let len = operands.iter().map(|operand| operand.len()).min().unwrap_or(0);
    let mut result = vec![0_f32; len];
    result.par_chunks_mut(TASK).enumerate().for_each(|(task, result)| {
        arch().dispatch(|| {
            let operands = operands.map(|operand| &operand[task * TASK..][..result.len()]);
            for (place, result) in result.iter_mut().enumerate() {
                *result = function(operands.map(|operand| operand[place]));
            }
        });
    });
    result
}

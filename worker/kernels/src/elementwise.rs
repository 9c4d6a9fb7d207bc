//! Elementwise functions of one or more tensors.

use super::lanes::arch;
use super::output::in_parts;

/// Elements of one task.
const TASK: usize = 1 << 15;

/// Applies a function to the elements at each index of the operands.
///
/// # Panics
/// When the operands differ in length.
pub(super) fn elementwise<const N: usize>(
    operands: [&[f32]; N],
    function: impl Fn([f32; N]) -> f32 + Sync,
) -> Vec<f32> {
    const { assert!(N > 0, "a function of something") };
    let len = operands[0].len();
    assert!(operands.iter().all(|operand| operand.len() == len), "operands of one length");
    in_parts(len, TASK, |task, result| {
        arch().dispatch(|| {
            let operands = operands.map(|operand| &operand[task * TASK..][..result.len()]);
            for (place, result) in result.iter_mut().enumerate() {
                *result = function(operands.map(|operand| operand[place]));
            }
        });
    })
}

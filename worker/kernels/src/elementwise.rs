//! Functions of single numbers over whole tensors.

use super::lanes::arch;
use super::output::in_parts;

/// Numbers that one task takes.
const TASK: usize = 1 << 15;

/// The function of the numbers at each place of operands.
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

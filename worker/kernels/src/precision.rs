//! The precision of the operands of matrix products, as a job declares it (`train.precision`).
//!
//! With bf16 a matrix product takes operands rounded to bfloat16 and adds in f32; gradients pass the rounding
//! unchanged, and are rounded themselves as operands in the backward pass (mixed precision as in Micikevicius et al.,
//! ICLR 2018, with f32 weights). On the CPU the f32 kernels compute with the rounded operands.

use std::borrow::Cow;
use std::cell::Cell;

use half::bf16;
use lookbehind_common::job::Precision;

use super::elementwise::elementwise;

thread_local! {
    /// Precision of the operations that are applied on this thread.
    static DECLARED: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// Runs a forward pass on this thread whose operations, and their gradients, compute with this precision.
pub fn with_precision<T>(precision: Precision, pass: impl FnOnce() -> T) -> T {
    /// Restores the precision before, also when the forward pass panics.
    struct Before(Precision);
    impl Drop for Before {
        fn drop(&mut self) {
            DECLARED.set(self.0);
        }
    }
    let _before = Before(DECLARED.replace(precision));
    pass()
}

pub(super) fn declared() -> Precision {
    DECLARED.get()
}

/// An operand in the precision of the matrix products.
pub(super) fn operand(precision: Precision, elements: &[f32]) -> Cow<'_, [f32]> {
    match precision {
        // Workers without TF32 refuse such a job before it reaches this function.
        Precision::F32 | Precision::Tf32 => Cow::Borrowed(elements),
        Precision::Bf16 => Cow::Owned(elementwise([elements], |[x]| bf16::from_f32(x).to_f32())),
    }
}

#[cfg(test)]
mod tests;

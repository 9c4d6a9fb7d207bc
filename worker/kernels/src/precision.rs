//! What the operands of products are rounded to, as a job declares it (`train.precision`).
//!
//! With bf16 the result of a product is that of operands rounded to bfloat16, added up in f32; the gradient passes the
//! rounding unchanged, and is an operand itself on the way back (mixed precision as Micikevicius et al., ICLR 2018, with
//! f32 weights). On the CPU the f32 kernels compute with the rounded operands.

use std::borrow::Cow;
use std::cell::Cell;

use half::bf16;
use lookbehind_common::job::Precision;

use super::elementwise::elementwise;

thread_local! {
    /// What operations that are applied on this thread compute with.
    static DECLARED: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// Runs a forward pass on this thread; operations that it applies compute with this precision, and so do their gradients.
pub fn with_precision<T>(precision: Precision, pass: impl FnOnce() -> T) -> T {
    /// Restores, also when the pass panics.
    struct Before(Precision);
    impl Drop for Before {
        fn drop(&mut self) {
            DECLARED.set(self.0);
        }
    }
    let _before = Before(DECLARED.replace(precision));
    pass()
}

/// The precision that was declared for this thread.
pub(super) fn declared() -> Precision {
    DECLARED.get()
}

/// An operand as products take it.
pub(super) fn operand(precision: Precision, numbers: &[f32]) -> Cow<'_, [f32]> {
    match precision {
        // A job in TF32 is refused by workers without it before it comes here.
        Precision::F32 | Precision::Tf32 => Cow::Borrowed(numbers),
        Precision::Bf16 => Cow::Owned(elementwise([numbers], |[x]| bf16::from_f32(x).to_f32())),
    }
}

#[cfg(test)]
mod tests;

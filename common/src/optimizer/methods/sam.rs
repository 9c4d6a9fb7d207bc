//! Sharpness-aware minimisation (Foret, Kleiner, Mobahi and Neyshabur, ICLR 2021, Algorithm 1), or with an adaptive
//! ascent ASAM (Kwon, Kim, Park and Choi, ICML 2021):
//!
//! ```text
//! φ′ = f + ε(∇L(f))
//! f = base(f, ∇L(φ′))
//! ```
//!
//! An outer step of SAM is one such step from f = φ, after which φ becomes f.

use super::GradientUse;

/// One SAM step on the batch of inner step `inner`.
pub(super) fn gradients(inner: u32) -> [GradientUse; 2] {
    [GradientUse::at_fast(inner).ascends(), GradientUse::at_perturbed(inner).descends()]
}

//! Sharpness-aware minimisation (Foret, Kleiner, Mobahi and Neyshabur, ICLR 2021, Algorithm 1); with an adaptive ascent
//! ASAM (Kwon, Kim, Park and Choi, ICML 2021):
//!
//! ```text
//! φ′ = f + ε(∇L(f))
//! f = base(f, ∇L(φ′))
//! ```
//!
//! SAM itself takes one such step from f = φ, and φ becomes f.

use super::GradientUse;

/// The SAM step with the batch of inner step `inner`.
pub(super) fn gradients(inner: u32) -> [GradientUse; 2] {
    [GradientUse::at_fast(inner).ascends(), GradientUse::at_perturbed(inner).descends()]
}

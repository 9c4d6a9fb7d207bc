//! Lookahead (Zhang, Lucas, Hinton and Ba, NeurIPS 2019, Algorithm 1):
//!
//! ```text
//! for i = 1..k, with a batch each:
//!     f = base(f, ∇L(f))
//! φ = φ + α (f − φ)
//! ```

use super::GradientUse;

pub(super) fn gradients(k: u32) -> Vec<GradientUse> {
    (0..k).map(|inner| GradientUse::at_fast(inner).descends()).collect()
}

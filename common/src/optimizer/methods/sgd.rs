//! The base optimizer alone:
//!
//! ```text
//! g = ∇L(φ)
//! φ = base(φ, g)
//! ```

use super::GradientUse;

pub(super) fn gradients() -> Vec<GradientUse> {
    vec![GradientUse::at_fast(0).descends()]
}

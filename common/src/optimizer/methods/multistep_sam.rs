//! Multistep-SAM: k ascents, then one descent with the gradient at the last point. With `minibatch = "switch"`, each
//! ascent has a batch of its own, and the descent uses the batch of the last ascent.
//!
//! ```text
//! for i = 1..k:
//!     φ′ = φ′ + ε(∇L(φ′))
//! φ = base(φ, ∇L(φ′))
//! ```
//!
//! With `descent = "mean"`, the descent is with the mean of the gradients at all k points:
//!
//! ```text
//! g₀ = ∇L(φ′)
//! for i = 1..k:
//!     φ′ = φ′ + ε(g_{i−1})
//!     g_i = ∇L(φ′)
//! φ = base(φ, (g₁ + … + g_k) / k)
//! ```

use super::GradientUse;
use crate::job::DescentGradient;

pub(super) fn gradients(k: u32, descent: DescentGradient) -> Vec<GradientUse> {
    let ascent = |inner| {
        let gradient = GradientUse::at_perturbed(inner).ascends();
        // g₀ is at the slow weights.
        if descent == DescentGradient::Mean && inner > 0 { gradient.averaged() } else { gradient }
    };
    let mut gradients: Vec<GradientUse> = (0..k).map(ascent).collect();
    gradients.push(GradientUse::at_perturbed(k - 1).descends());
    gradients
}

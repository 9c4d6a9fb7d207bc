//! Multistep-SAM: k ascents, then one descent with the gradient at the last point. With `minibatch = "switch"`, each
//! ascent has a batch of its own, and the descent uses the batch of the last ascent.
//!
//! ```text
//! for i = 1..k:
//!     φ′ = φ′ + ε(∇L(φ′))
//! φ = base(φ, ∇L(φ′))
//! ```

use super::GradientUse;

pub(super) fn gradients(k: u32) -> Vec<GradientUse> {
    let mut gradients: Vec<GradientUse> =
        (0..k).map(|inner| GradientUse::at_perturbed(inner).ascends()).collect();
    gradients.push(GradientUse::at_perturbed(k - 1).descends());
    gradients
}

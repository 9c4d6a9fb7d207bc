//! Lookbehind-SAM (Mordido, Malviya, Baratin and Chandar, ICML 2024, PMLR 235:36229–36248, Algorithm 1):
//!
//! ```text
//! φ′ = φ ; f = φ ; g₀ = ∇L(φ′)
//! for i = 1..k:
//!     φ′ = φ′ + ε(g_{i−1})
//!     g_i = ∇L(φ′)
//!     f = base(f, g_i)
//! φ = φ + α (f − φ)
//! ```
//!
//! The ascents are not projected back to distance ρ: their path has a length of up to k·ρ.

use super::GradientUse;

/// `gradients = "reuse"`, as above: g_i serves the descent of inner step i and the ascent of inner step i + 1, so k + 1
/// gradients of one batch are enough. The resulting weights equal those of [`reference`] with one batch, to the last
/// bit.
pub(super) fn reused(k: u32) -> Vec<GradientUse> {
    let mut gradients = vec![GradientUse::at_perturbed(0).ascends()]; // g₀
    for inner in 1..k {
        gradients.push(GradientUse::at_perturbed(inner).descends().ascends()); // g₁ to g_{k−1}
    }
    gradients.push(GradientUse::at_perturbed(k).descends()); // g_k
    gradients
}

/// `gradients = "reference"`, as in the published code: one gradient for each ascent and one for each descent, 2k
/// gradients. Only with these can each inner step have a batch of its own.
///
/// ```text
/// for i = 1..k:
///     φ′ = φ′ + ε(∇L(φ′))
///     f = base(f, ∇L(φ′))
/// ```
pub(super) fn reference(k: u32) -> Vec<GradientUse> {
    let inner_step =
        |inner| [GradientUse::at_perturbed(inner).ascends(), GradientUse::at_perturbed(inner).descends()];
    (0..k).flat_map(inner_step).collect()
}

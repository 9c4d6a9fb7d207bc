//! Random weight perturbation: one descent with the gradient at weights that are moved in a random direction. Its length is
//! that of an ascent of SAM with the same ρ, so that the two differ in the direction alone (after Li et al., «Revisiting
//! Random Weight Perturbation for Efficiently Improving Generalization», TMLR 2024, who scale the noise by filters).
//!
//! ```text
//! ξ ~ N(0, I), keyed by the job's seed and the number of the descent
//! φ′ = φ + ρ ξ / ‖ξ‖
//! φ = base(φ, ∇L(φ′))
//! ```

use rayon::prelude::*;

use super::GradientUse;
use crate::flat_buffer::FlatBuffer;
use crate::layout::Layout;
use crate::random::{Key, Purpose};

pub(super) fn gradients() -> Vec<GradientUse> {
    vec![GradientUse::at_perturbed(0).descends()]
}

/// ξ for all parameters; each tensor has a stream of its own.
pub(in crate::optimizer) fn direction(layout: &Layout, seed: u64, descent: u64) -> FlatBuffer {
    let mut values = FlatBuffer::zeros(layout.parameters());
    let mut rest = &mut values[..];
    let mut tensors = Vec::new();
    for (tensor, entry) in layout.parameter_entries().enumerate() {
        let (own, after) = rest.split_at_mut(entry.range.len());
        tensors.push((tensor as u32, own));
        rest = after;
    }
    tensors.into_par_iter().for_each(|(layer, values)| {
        let mut stream =
            Key { layer, batch: descent, ..Key::new(seed, Purpose::WeightPerturbation) }.stream();
        values.iter_mut().for_each(|value| *value = stream.normal());
    });
    values
}

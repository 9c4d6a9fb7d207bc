//! How much memory training keeps in use at once for activations.

/// Counts the elements that layers output for one sample: the backward pass needs them, so training keeps all of them
/// at once.
#[derive(Clone, Copy, Default)]
pub(in crate::models) struct ActivationMemory(u64);

impl ActivationMemory {
    /// Adds `channels` elements for each of `places` pixels, tokens or other positions.
    pub(in crate::models) fn add(&mut self, places: usize, channels: usize) {
        self.0 = self.0.saturating_add((places as u64).saturating_mul(channels as u64));
    }

    /// The total; saturates at the largest value of its type.
    pub(in crate::models) fn elements(self) -> u64 {
        self.0
    }
}

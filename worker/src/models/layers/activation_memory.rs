//! How much a training pass holds at once.

/// Counts the numbers that layers give for one sample: the way back through a model needs them, so that training holds
/// all of them at once.
#[derive(Clone, Copy, Default)]
pub(in crate::models) struct ActivationMemory(u64);

impl ActivationMemory {
    /// Adds `channels` numbers for each of `places` pixels, tokens or the like.
    pub(in crate::models) fn add(&mut self, places: usize, channels: usize) {
        self.0 = self.0.saturating_add((places as u64).saturating_mul(channels as u64));
    }

    /// All together; the greatest number of its type where they are more.
    pub(in crate::models) fn elements(self) -> u64 {
        self.0
    }
}

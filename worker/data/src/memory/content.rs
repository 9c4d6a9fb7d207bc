//! The content of samples: their elements, and the digest over all of them.

use lookbehind_common::digest::Digest;

/// Element type of inputs in memory.
pub(crate) trait Element: Copy + Default + Send + Sync + std::fmt::Debug {
    /// First bytes of a fingerprint, so that pixels and f32 values never have the same one.
    const TAG: &'static [u8];

    /// The value that the model gets.
    fn input(self) -> f32;

    fn update(hasher: &mut blake3::Hasher, inputs: &[Self]);
}

impl Element for f32 {
    const TAG: &'static [u8] = b"";

    fn input(self) -> f32 {
        self
    }

    fn update(hasher: &mut blake3::Hasher, inputs: &[Self]) {
        update_words(hasher, inputs.iter().map(|value| value.to_bits()));
    }
}

impl Element for u16 {
    const TAG: &'static [u8] = b"pixels of 16 bits";

    fn input(self) -> f32 {
        f32::from(self) / 65_535.0
    }

    fn update(hasher: &mut blake3::Hasher, inputs: &[Self]) {
        update_bytes(hasher, inputs.iter().map(|value| value.to_le_bytes()));
    }
}

impl Element for u8 {
    const TAG: &'static [u8] = b"pixels";

    fn input(self) -> f32 {
        f32::from(self) / 255.0
    }

    fn update(hasher: &mut blake3::Hasher, inputs: &[Self]) {
        hasher.update(inputs);
    }
}

/// Computes the fingerprint of samples that come piece by piece: of each split all inputs, then all targets.
pub(crate) struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    /// `rows` are the numbers of samples in the splits.
    pub(crate) fn new<T: Element>(input_shape: &[usize], classes: usize, rows: [usize; 2]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(T::TAG);
        let numbers = [classes, input_shape.len()].into_iter().chain(input_shape.iter().copied());
        numbers.chain(rows).for_each(|number| {
            hasher.update(&(number as u64).to_le_bytes());
        });
        Self(hasher)
    }

    pub(crate) fn inputs<T: Element>(&mut self, inputs: &[T]) {
        T::update(&mut self.0, inputs);
    }

    pub(crate) fn targets(&mut self, targets: &[u32]) {
        update_words(&mut self.0, targets.iter().copied());
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

fn update_words(hasher: &mut blake3::Hasher, words: impl Iterator<Item = u32>) {
    update_bytes(hasher, words.map(u32::to_le_bytes));
}

fn update_bytes<const N: usize>(hasher: &mut blake3::Hasher, items: impl Iterator<Item = [u8; N]>) {
    const BLOCK: usize = 1 << 16;
    let mut block = Vec::with_capacity(BLOCK);
    for item in items {
        block.extend_from_slice(&item);
        if block.len() == BLOCK {
            hasher.update(&block);
            block.clear();
        }
    }
    hasher.update(&block);
}

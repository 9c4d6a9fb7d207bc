//! Keyed randomness: every random number of a job is a pure function of the job's seed and of what it is for,
//! never of the worker, shard or gradient that asks: so the result depends neither on how many workers there are nor on who
//! computes what.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

/// What random numbers are for; part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights; `layer` is the tensor's number in the layout.
    InitialWeights = 1,
    /// Order of the samples in an epoch.
    Order = 2,
    /// Augmentation of a sample in an epoch.
    Augmentation = 3,
    /// Dropout masks; keyed by layer, epoch, batch and sample.
    Dropout = 4,
    /// Weights of the probe that tells compute classes apart.
    Probe = 5,
}

/// The key of one stream of random numbers. Fields that a purpose does not use stay 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The job's seed.
    pub seed: u64,
    /// What the numbers are for.
    pub purpose: Purpose,
    /// Layer or tensor.
    pub layer: u32,
    /// Epoch.
    pub epoch: u64,
    /// Batch within the epoch.
    pub batch: u64,
    /// Sample within the data set.
    pub sample: u64,
}

impl Key {
    /// A key whose other fields are 0.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self { seed, purpose, layer: 0, epoch: 0, batch: 0, sample: 0 }
    }

    /// The stream of this key: ChaCha12 with the key's fields as cipher key and the sample as stream number,
    /// so that distinct keys never share numbers.
    pub fn stream(self) -> Stream {
        let mut cipher_key = [0_u8; 32];
        cipher_key[0..8].copy_from_slice(&self.seed.to_le_bytes());
        cipher_key[8..12].copy_from_slice(&(self.purpose as u32).to_le_bytes());
        cipher_key[12..16].copy_from_slice(&self.layer.to_le_bytes());
        cipher_key[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        cipher_key[24..32].copy_from_slice(&self.batch.to_le_bytes());
        let mut generator = ChaCha12Rng::from_seed(cipher_key);
        generator.set_stream(self.sample);
        Stream(generator)
    }
}

/// A stream of random numbers.
pub struct Stream(ChaCha12Rng);

impl Stream {
    /// Uniform in 0..bound without bias; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Rejects the numbers beyond the largest multiple of `bound`.
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let value = self.0.next_u64();
            if value < limit {
                return value % bound;
            }
        }
    }

    /// Uniform in [0, 1), with 24 random bits.
    pub fn uniform(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1_u32 << 24) as f32
    }

    /// Uniform in [low, high).
    pub fn uniform_between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Standard normal, by the Box–Muller transform with pinned functions (two numbers drawn, one returned).
    pub fn normal(&mut self) -> f32 {
        let radius = f64::from(1.0 - self.uniform());
        let angle = f64::from(self.uniform()) * std::f64::consts::TAU;
        (libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(angle)) as f32
    }

    /// Shuffles in place (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests;

//! Keyed randomness: every random number of a job is a pure function of the job's seed and of its purpose, and never of
//! the worker, shard or gradient that uses it. The result of a job therefore depends neither on the number of workers
//! nor on which worker computes what.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

/// Purpose of random numbers. It is part of the key, so the values of the variants must not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights; keyed by `layer`, the tensor's number in the layout.
    InitialWeights = 1,
    /// Order of the samples in an epoch; keyed by epoch.
    Order = 2,
    /// Augmentation of a sample in an epoch.
    Augmentation = 3,
    /// Dropout masks; keyed by layer, epoch, batch and sample.
    Dropout = 4,
    /// Weights of the probe that identifies compute classes.
    Probe = 5,
    /// Shards that are computed twice and compared; keyed by a secret of the coordinator and, in `batch`, by outer step.
    Verification = 6,
    /// Directions of random weight perturbation; keyed by `layer`, the tensor's number among the parameters, and in `batch`
    /// by the number of descents before.
    WeightPerturbation = 7,
    /// Samples that a job uses of a data set; keyed by use (in `layer`) and class (in `batch`).
    Selection = 20,
    /// Wrong labels; which samples get them, and, keyed by sample, which label.
    LabelNoise = 21,
    /// Noise on weights in an evaluation; keyed by `layer`, the tensor's number among the parameters, and in `batch` by
    /// the draw.
    WeightNoise = 32,
    /// Directions of average sharpness; keyed as noise on weights.
    AverageSharpness = 33,
    /// Which samples an evaluation uses.
    EvaluationSamples = 34,
    /// Probes of the Hessian's trace; keyed in `batch` by the probe.
    HessianProbe = 35,
    /// Where the search for the Hessian's eigenvectors starts.
    HessianStart = 36,
}

/// Key of one stream of random numbers. Fields that a purpose does not use are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The job's seed.
    pub seed: u64,
    /// Purpose of the numbers.
    pub purpose: Purpose,
    /// Number of the layer or tensor.
    pub layer: u32,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Batch within the epoch, from 0.
    pub batch: u64,
    /// Number of the sample within the data set, from 0.
    pub sample: u64,
}

impl Key {
    /// A key whose other fields are 0.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self { seed, purpose, layer: 0, epoch: 0, batch: 0, sample: 0 }
    }

    /// The stream of this key: ChaCha12 with the sample as stream number and all other fields as cipher key, so that
    /// different keys give different streams.
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

/// A stream of random numbers. Each call draws the next ones.
pub struct Stream(ChaCha12Rng);

impl Stream {
    /// Uniform in `0..bound` without bias; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Rejects numbers from the largest multiple of `bound` on: they would make small results more likely.
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

    /// Standard normal, by the Box–Muller transform, which draws two numbers for one result. The functions are libm's,
    /// which give the same bits on every machine.
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

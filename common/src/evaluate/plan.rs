//! The units of an evaluation, in their order, and what they cost.

use serde::{Deserialize, Serialize};

use super::{BatchStatistics, NoiseKind, Request, SharpnessMeasure, WorstCase};
use crate::random::{Key, Purpose};

/// A forward pass takes about a third of the time of a gradient.
const FORWARD: f64 = 1.0 / 3.0;

/// A unit of work on one model. Its record depends on the model's weights, the job, the request and the unit alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "unit", rename_all = "snake_case")]
pub enum Unit {
    /// Loss, accuracy and the rest on the split.
    Scores,
    /// Loss and accuracy on the split under one draw of noise.
    Noise {
        /// Kind of the noise.
        kind: NoiseKind,
        /// Statistics of normalisation layers.
        statistics: BatchStatistics,
        /// Level of the noise.
        level: f64,
        /// Number of the draw.
        draw: u32,
    },
    /// Loss and accuracy on the samples of sharpness.
    Start,
    /// The ascent of one m-batch.
    Climb {
        /// What is climbed.
        measure: SharpnessMeasure,
        /// The radius.
        radius: f64,
        /// Number of the m-batch.
        batch: u64,
    },
    /// Loss and accuracy on the samples of sharpness under one draw.
    Average {
        /// What is drawn.
        measure: SharpnessMeasure,
        /// The radius.
        radius: f64,
        /// Number of the draw.
        draw: u32,
    },
    /// The greatest eigenvalues of the Hessian.
    Eigenvalues {
        /// Whether the differences of gradients are over half the distance, as a check.
        half: bool,
    },
    /// One probe of the Hessian's trace.
    Trace {
        /// Number of the probe.
        probe: u32,
    },
}

/// Numbers of samples of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Samples of the split on which loss and accuracy are computed.
    pub split: u64,
    /// Samples of the training split.
    pub train: u64,
    /// Samples of a batch of the job.
    pub batch: u64,
}

/// What units cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Samples whose gradients are computed.
    pub gradients: u64,
    /// Samples of forward passes without gradients.
    pub forwards: u64,
}

impl Cost {
    /// The cost in gradients of a batch of this many samples; a forward pass counts a third.
    pub fn in_gradients(&self, batch: u64) -> f64 {
        (self.gradients as f64 + self.forwards as f64 * FORWARD) / batch as f64
    }
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            gradients: self.gradients.saturating_add(other.gradients),
            forwards: self.forwards.saturating_add(other.forwards),
        }
    }
}

/// The units of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What was asked.
    pub request: Request,
    /// Numbers of samples of the job.
    pub sizes: Sizes,
    /// The units in the order of their records.
    pub units: Vec<Unit>,
}

impl Plan {
    /// The units of a request that has been checked.
    pub fn new(request: Request, sizes: Sizes) -> Self {
        let mut units = vec![Unit::Scores];
        for noise in &request.noise {
            for &statistics in &noise.statistics {
                for &level in &noise.levels {
                    let kind = noise.kind;
                    let unit = |draw| Unit::Noise { kind, statistics, level, draw };
                    units.extend((0..noise.draws_at(level)).map(unit));
                }
            }
        }
        if let Some(sharpness) = &request.sharpness {
            units.push(Unit::Start);
            for &measure in &sharpness.measures {
                for &radius in &sharpness.radii {
                    if measure.is_average() {
                        units.extend((0..sharpness.draws).map(|draw| Unit::Average {
                            measure,
                            radius,
                            draw,
                        }));
                    } else {
                        let batches = 0..sharpness.batches(sizes.train);
                        units.extend(batches.map(|batch| Unit::Climb { measure, radius, batch }));
                    }
                }
            }
        }
        if let Some(hessian) = &request.hessian {
            units.extend([false, true].map(|half| Unit::Eigenvalues { half }));
            units.extend((0..hessian.probes).map(|probe| Unit::Trace { probe }));
        }
        Self { request, sizes, units }
    }

    /// What all units of one model cost, at most; with what comes before them.
    pub fn cost(&self) -> Cost {
        let before = if self.request.recalibrate { self.recalibration() } else { Cost::default() };
        self.units.iter().fold(before, |sum, unit| sum + self.cost_of(unit))
    }

    fn cost_of(&self, unit: &Unit) -> Cost {
        let forwards = |forwards| Cost { gradients: 0, forwards };
        match *unit {
            Unit::Scores => forwards(self.sizes.split),
            Unit::Noise { statistics: BatchStatistics::Frozen, .. } => forwards(self.sizes.split),
            Unit::Noise { statistics: BatchStatistics::Recalibrated, .. } => {
                forwards(self.sizes.split) + self.recalibration()
            }
            Unit::Start | Unit::Average { .. } => forwards(self.sharpness_samples()),
            Unit::Climb { measure, batch, .. } => {
                let steps = self.request.sharpness.as_ref().map_or(0, |sharpness| sharpness.steps);
                let range = self.batch(batch);
                let (gradients, forwards) = WorstCase::cost(measure, steps);
                let samples = range.end - range.start;
                Cost { gradients: gradients.saturating_mul(samples), forwards: forwards * samples }
            }
            Unit::Eigenvalues { .. } => {
                let iterations = self.request.hessian.as_ref().map_or(0, |hessian| hessian.iterations);
                Cost { gradients: 2 * u64::from(iterations) * self.hessian_samples(), forwards: 0 }
            }
            Unit::Trace { .. } => Cost { gradients: 2 * self.hessian_samples(), forwards: 0 },
        }
    }

    fn recalibration(&self) -> Cost {
        let samples = u64::from(self.request.recalibration_batches).saturating_mul(self.sizes.batch);
        Cost { gradients: 0, forwards: samples.min(self.sizes.train) }
    }

    /// Number of samples of sharpness.
    pub fn sharpness_samples(&self) -> u64 {
        self.request.sharpness.as_ref().map_or(0, |sharpness| sharpness.samples.min(self.sizes.train))
    }

    /// Number of samples of the Hessian.
    pub fn hessian_samples(&self) -> u64 {
        self.request.hessian.as_ref().map_or(0, |hessian| hessian.samples.min(self.sizes.train))
    }

    /// The places of an m-batch in the order of [`Self::order`].
    pub fn batch(&self, batch: u64) -> std::ops::Range<u64> {
        let size = self.request.sharpness.as_ref().map_or(1, |sharpness| sharpness.batch);
        let samples = self.sharpness_samples();
        let start = batch.saturating_mul(size).min(samples);
        start..start.saturating_add(size).min(samples)
    }

    /// The training samples in the order in which sharpness and Hessian take them.
    pub fn order(&self) -> Vec<u64> {
        self.shuffled(0)
    }

    /// The training samples in the order in which running statistics are computed from them, as many as are needed.
    pub fn recalibration_order(&self) -> Vec<u64> {
        let mut order = self.shuffled(1);
        order.truncate(self.recalibration().forwards as usize);
        order
    }

    fn shuffled(&self, number: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (0..self.sizes.train).collect();
        let key = Key { epoch: number, ..Key::new(self.request.seed, Purpose::EvaluationSamples) };
        key.stream().shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests;

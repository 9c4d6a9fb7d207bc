//! From a unit of work to its record.

use lookbehind_common::evaluate::{
    BatchStatistics, NoiseDraw, Plan, Record, Scores, SharpnessMeasure, Tally, Unit, WorstCase,
    average_direction, hutchinson, perturb, rademacher, start_vector, top_eigenvalues,
};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::Sums;

use super::split_of;
use crate::compute::{ComputeError, Found, Measuring};
use crate::data::Split;

/// Distance of the two gradients whose difference is a product with the Hessian, as a share of the weights' norm.
const DISTANCE: f64 = 1e-3;

/// Computes the units of a plan with a model of its own.
pub(super) struct Units<'a> {
    pub(super) plan: &'a Plan,
    pub(super) samples: &'a Orders,
    pub(super) measuring: Measuring,
}

/// Which samples the units of a plan take.
pub(super) struct Orders {
    /// The samples of the split.
    split: Vec<u64>,
    /// Training samples in a keyed order, for sharpness and Hessian.
    train: Vec<u64>,
    /// Training samples for running statistics.
    recalibration: Vec<u64>,
}

impl Orders {
    pub(super) fn of(plan: &Plan) -> Self {
        let split = (0..plan.sizes.split).collect();
        Self { split, train: plan.order(), recalibration: plan.recalibration_order() }
    }
}

impl Units<'_> {
    /// The record of a unit for a model with these weights.
    pub(super) fn record(
        &self,
        unit: &Unit,
        weights: &ModelState<FlatBuffer>,
    ) -> Result<Record, ComputeError> {
        match *unit {
            Unit::Scores => self.scores(weights),
            Unit::Noise { kind, statistics, level, draw } => {
                let seed = self.plan.request.seed;
                let layout = self.measuring.layout();
                let noisy = perturb(kind, level, layout, &weights.parameters, NoiseDraw { seed, draw });
                let sums = self.noisy(&noisy, &weights.statistics, statistics)?;
                let (loss, accuracy) = (sums.mean_loss(), sums.accuracy());
                Ok(Record::Noise { kind, statistics, level, draw, loss, accuracy })
            }
            Unit::Start => {
                self.measuring.load(weights.values())?;
                let sums = self.measuring.sums(Split::Train, self.sharpness_samples(), false)?;
                Ok(Record::Start { samples: sums.samples, loss: sums.mean_loss(), accuracy: sums.accuracy() })
            }
            Unit::Climb { measure, radius, batch } => self.climb(measure, radius, batch, weights),
            Unit::Average { measure, radius, draw } => {
                let draw_key = NoiseDraw { seed: self.plan.request.seed, draw };
                let layout = self.measuring.layout();
                let moved = average_direction(measure, radius, layout, &weights.parameters, draw_key);
                self.measuring.load(ModelState { parameters: &moved, statistics: &weights.statistics })?;
                let sums = self.measuring.sums(Split::Train, self.sharpness_samples(), false)?;
                let (loss, accuracy) = (sums.mean_loss(), sums.accuracy());
                Ok(Record::Average { measure, radius, draw, loss, accuracy })
            }
            Unit::Eigenvalues { half } => self.eigenvalues(half, weights),
            Unit::Trace { probe } => {
                let hessian = HessianAt::new(self, weights, DISTANCE);
                let vector = rademacher(self.plan.request.seed, probe, weights.parameters.len());
                let value = hutchinson(&vector, &hessian.product(&vector)?);
                Ok(Record::Trace { probe, value })
            }
        }
    }

    fn scores(&self, weights: &ModelState<FlatBuffer>) -> Result<Record, ComputeError> {
        self.measuring.load(weights.values())?;
        let classes = self.measuring.classes();
        let mut tally = Tally::new(classes);
        let split = split_of(self.plan.request.split);
        self.measuring.each_sample(split, &self.samples.split, |logits, target, loss| {
            tally.add(logits, target as usize, loss);
        })?;
        Ok(Record::Scores(Scores::of(&tally, classes)))
    }

    /// Sums over the split at parameters under noise.
    fn noisy(
        &self,
        parameters: &[f32],
        statistics: &[f32],
        treatment: BatchStatistics,
    ) -> Result<Sums, ComputeError> {
        self.measuring.load(ModelState { parameters, statistics })?;
        if treatment == BatchStatistics::Recalibrated {
            let statistics = self.measuring.running_statistics(&self.samples.recalibration)?;
            self.measuring.load(ModelState { parameters, statistics: &statistics })?;
        }
        self.measuring.sums(split_of(self.plan.request.split), &self.samples.split, false)
    }

    fn climb(
        &self,
        measure: SharpnessMeasure,
        radius: f64,
        batch: u64,
        weights: &ModelState<FlatBuffer>,
    ) -> Result<Record, ComputeError> {
        let range = self.plan.batch(batch);
        let samples = &self.samples.train[range.start as usize..range.end as usize];
        let steps = self.plan.request.sharpness.as_ref().map_or(1, |sharpness| sharpness.steps);
        let mut ascent = WorstCase::new(measure, radius, steps, weights.parameters.clone());
        let mut start: Option<(f64, u64)> = None;
        loop {
            self.measuring
                .load(ModelState { parameters: ascent.point(), statistics: &weights.statistics })?;
            let normalised = measure.normalises_logits();
            let Found { sums, gradient } = if ascent.wants_gradient() {
                self.measuring.gradient(samples, normalised)?
            } else {
                let sums = self.measuring.sums(Split::Train, samples, normalised)?;
                Found { sums, gradient: FlatBuffer::default() }
            };
            let loss = sums.mean_loss();
            let (first_loss, first_correct) = *start.get_or_insert((loss, sums.correct));
            if let Some((worst_loss, correct)) = ascent.absorb(loss, sums.correct, &gradient) {
                let count = samples.len() as f64;
                let error_increase = (first_correct as f64 - correct as f64) / count;
                let samples = samples.len() as u64;
                let loss = first_loss;
                return Ok(Record::Climb {
                    measure,
                    radius,
                    batch,
                    samples,
                    loss,
                    worst_loss,
                    error_increase,
                });
            }
        }
    }

    fn eigenvalues(&self, half: bool, weights: &ModelState<FlatBuffer>) -> Result<Record, ComputeError> {
        let (wanted, most) = match &self.plan.request.hessian {
            Some(hessian) => (hessian.eigenvalues as usize, hessian.iterations),
            None => (1, 1),
        };
        let hessian = HessianAt::new(self, weights, if half { DISTANCE / 2.0 } else { DISTANCE });
        let start = start_vector(self.plan.request.seed, weights.parameters.len());
        let found = top_eigenvalues(wanted, most, start, |vector| hessian.product(vector))?;
        Ok(Record::Eigenvalues {
            half,
            distance: hessian.distance,
            eigenvalues: found.eigenvalues,
            residuals: found.residuals,
            products: found.products,
        })
    }

    fn sharpness_samples(&self) -> &[u64] {
        &self.samples.train[..self.plan.sharpness_samples() as usize]
    }
}

/// The Hessian of the mean loss at some weights, as its products with vectors.
struct HessianAt<'a> {
    units: &'a Units<'a>,
    weights: &'a ModelState<FlatBuffer>,
    samples: &'a [u64],
    /// Distance of each of the two gradients from the weights.
    distance: f64,
}

impl<'a> HessianAt<'a> {
    fn new(units: &'a Units<'a>, weights: &'a ModelState<FlatBuffer>, share: f64) -> Self {
        let norm = weights.parameters.iter().map(|&w| f64::from(w) * f64::from(w)).sum::<f64>().sqrt();
        let samples = &units.samples.train[..units.plan.hessian_samples() as usize];
        // Weights that are all zero have no scale of their own.
        let distance = share * if norm > 0.0 { norm } else { 1.0 };
        Self { units, weights, samples, distance }
    }

    /// H v by the central difference of two gradients at `distance` along v.
    fn product(&self, vector: &[f64]) -> Result<Vec<f64>, ComputeError> {
        let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
        let above = self.gradient(vector, self.distance / length)?;
        let below = self.gradient(vector, -self.distance / length)?;
        let scale = length / (2.0 * self.distance);
        let differences = above.iter().zip(below.iter());
        Ok(differences.map(|(above, below)| (f64::from(*above) - f64::from(*below)) * scale).collect())
    }

    fn gradient(&self, vector: &[f64], scale: f64) -> Result<FlatBuffer, ComputeError> {
        let parameters = self.weights.parameters.iter().zip(vector);
        let moved: Vec<f32> = parameters.map(|(w, v)| (f64::from(*w) + scale * v) as f32).collect();
        let measuring = &self.units.measuring;
        measuring.load(ModelState { parameters: &moved, statistics: &self.weights.statistics })?;
        Ok(measuring.gradient(self.samples, false)?.gradient)
    }
}

//! A second implementation of the optimizer family: in f64, from the formulas, without any of the service's own
//! arithmetic. It consists of plain loops over `Vec`s, and the service's results are compared with it.

mod base;
mod files;
mod methods;
mod mlp;
mod normed;
mod rounding;
mod rules;
mod schedule;

use std::collections::BTreeMap;
use std::ops::Range;

use lookbehind_common::job::{JobSpec, Length, Unit};

pub use base::Base;
pub use files::{Samples, read_samples, read_tensors};
pub use methods::{Gradient, InnerSteps, Trainer, inner_steps};
pub use mlp::{Mlp, loss_and_gradient};
pub use normed::{NAMES, Normed, normed};
pub use rounding::Seen;
pub use schedule::learning_rate;

/// Tensors by name, each with its shape and its values in row-major order.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

/// The values of some tensors, tensor by tensor.
pub type Values = Vec<Vec<f64>>;

/// Trains the multilayer perceptron with the layers in `init`, as `job` says, on all samples in their order; returns
/// the final weights under the names of `init`.
///
/// # Panics
/// If the job shuffles, or the tensors are not a multilayer perceptron for the samples.
pub fn train(job: &JobSpec, init: &Tensors, samples: &Samples) -> Tensors {
    train_beside(job, init, samples, Seen::default())
}

/// As [`train`], beside a service that rounded gradients to these.
///
/// # Panics
/// As [`train`].
pub fn train_beside(job: &JobSpec, init: &Tensors, samples: &Samples, seen: Seen) -> Tensors {
    assert!(!job.data.shuffle, "the reference takes the samples in order");
    let names: Vec<String> = init.keys().cloned().collect();
    let mlp = Mlp::of(init);
    let gradient =
        |weights: &Values, batch: &Range<usize>| loss_and_gradient(&mlp, weights, samples, batch).1;
    let tensors: Vec<(String, usize)> =
        init.iter().map(|(name, (shape, _))| (name.clone(), shape.len())).collect();
    let slow = init.values().map(|(_, values)| values.clone()).collect();
    let mut trainer = Trainer::new(job, &tensors, slow).beside(seen);
    for step in outer_steps(job, samples.targets.len()) {
        trainer.outer_step(&step.batches, step.learning_rate, &gradient);
    }
    let shapes = init.values().map(|(shape, _)| shape.clone());
    names.into_iter().zip(shapes.zip(trainer.slow)).collect()
}

/// One outer step of a run.
pub struct OuterStep {
    /// Range of samples of each of its batches.
    pub batches: Vec<Range<usize>>,
    /// Learning rate of its descents.
    pub learning_rate: f64,
}

/// All outer steps of a job over `samples` samples in their order.
pub fn outer_steps(job: &JobSpec, samples: usize) -> Vec<OuterStep> {
    let size = job.train.batch_size as usize;
    let mut batches: Vec<Range<usize>> =
        (0..samples).step_by(size).map(|start| start..samples.min(start + size)).collect();
    if job.data.drop_last {
        batches.retain(|batch| batch.len() == size);
    }
    let mut steps = Vec::new();
    let at_once = inner_steps(&job.optimizer.method).batches;
    let per_epoch = batches.len().div_ceil(at_once) as u64;
    for epoch in 0.. {
        for batches in batches.chunks(at_once) {
            let done = steps.len() as u64;
            let is_end = match job.train.length {
                Length::Epochs(epochs) => epoch == epochs,
                Length::Steps(all) => done == all,
            };
            if is_end {
                return steps;
            }
            let (unit, units) = match (job.schedule.unit, job.train.length) {
                (Unit::Epoch, Length::Epochs(epochs)) => (epoch, epochs),
                (_, Length::Epochs(epochs)) => (done, epochs * per_epoch),
                (_, Length::Steps(all)) => (done, all),
            };
            let learning_rate = learning_rate(&job.schedule, job.optimizer.base.lr(), unit, units);
            steps.push(OuterStep { batches: batches.to_vec(), learning_rate });
        }
    }
    steps
}

/// ‖got − expected‖ / ‖expected − init‖ over the tensors of `expected` together.
///
/// # Panics
/// If a tensor is missing or has another shape.
pub fn relative_error(got: &Tensors, expected: &Tensors, init: &Tensors) -> f64 {
    distance(got, expected) / distance(init, expected)
}

fn distance(left: &Tensors, right: &Tensors) -> f64 {
    let mut sum = 0.0;
    for (name, (shape, values)) in right {
        assert_eq!(&left[name].0, shape, "shape of {name}");
        sum += left[name].1.iter().zip(values).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    }
    sum.sqrt()
}

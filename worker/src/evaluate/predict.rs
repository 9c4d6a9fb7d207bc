//! What a model predicts for each sample.

use lookbehind_common::evaluate::{EvaluatedSplit, predicted, probabilities};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::model_state::ModelState;

use super::{Evaluation, split_of};
use crate::compute::PrepareError;

/// Samples between two calls.
const PIECE: u64 = 1024;

/// The prediction for one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Number of the sample within the split.
    pub sample: u64,
    /// The class with the greatest probability; `None` if the model's output is not a number.
    pub class: Option<usize>,
    /// Probability of each class.
    pub probabilities: Vec<f64>,
    /// The class that the data give.
    pub target: usize,
    /// Loss of the sample in nats.
    pub loss: f64,
}

impl Evaluation {
    /// Passes the predictions for all samples of a split to `each`, in their order.
    ///
    /// # Errors
    /// If the model cannot be computed, or that of `each`.
    pub fn predict<E: From<PrepareError>>(
        &self,
        weights: &ModelState<FlatBuffer>,
        split: EvaluatedSplit,
        threads: usize,
        mut each: impl FnMut(Prediction) -> Result<(), E>,
    ) -> Result<(), E> {
        let measuring = self.measuring(threads)?;
        measuring.load(weights.values()).map_err(PrepareError::from)?;
        let samples = self.sizes(split).split;
        for start in (0..samples).step_by(PIECE as usize) {
            let piece: Vec<u64> = (start..samples.min(start + PIECE)).collect();
            let mut predictions = Vec::with_capacity(piece.len());
            let taken = measuring.each_sample(split_of(split), &piece, |logits, target, loss| {
                predictions.push(Prediction {
                    sample: start + predictions.len() as u64,
                    class: predicted(logits),
                    probabilities: probabilities(logits),
                    target: target as usize,
                    loss,
                });
            });
            taken.map_err(PrepareError::from)?;
            predictions.into_iter().try_for_each(&mut each)?;
        }
        Ok(())
    }
}

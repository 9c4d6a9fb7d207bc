//! Dropout layers, which are numbered so that each has masks of its own.

use candle_core::{Result, Tensor};
use lookbehind_common::job::JobError;

use crate::models::ForwardContext;

/// Numbers a model's dropout layers in the order in which they are created.
#[derive(Default)]
pub(in crate::models) struct Dropouts {
    made: u32,
    /// Probability of the layers that specify none.
    probability: f32,
}

impl Dropouts {
    /// For a model all of whose layers have the same probability.
    pub(in crate::models) fn new(probability: f32) -> Self {
        Self { made: 0, probability }
    }

    /// The next layer.
    pub(in crate::models) fn layer(&mut self) -> Dropout {
        self.layer_with(self.probability)
    }

    /// The next layer, with a probability of its own.
    pub(in crate::models) fn layer_with(&mut self, probability: f32) -> Dropout {
        let number = self.made;
        self.made += 1;
        Dropout { number, probability }
    }
}

/// Zeroes elements in training.
pub(in crate::models) struct Dropout {
    number: u32,
    probability: f32,
}

impl Dropout {
    /// Whether it changes anything in training.
    pub(in crate::models) fn is_active(&self) -> bool {
        self.probability > 0.0
    }

    /// [n, ..] to the same shape.
    pub(in crate::models) fn forward(&self, x: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        context.dropout(self.number, self.probability, x)
    }
}

/// Refuses a value that is not a probability in [0, 1); `path` is its place in the job.
pub(in crate::models) fn check_dropout(path: &str, probability: f32) -> std::result::Result<(), JobError> {
    if (0.0..1.0).contains(&probability) {
        return Ok(());
    }
    Err(JobError::new(path, &format!("expected 0 or more and below 1, found {probability}")))
}

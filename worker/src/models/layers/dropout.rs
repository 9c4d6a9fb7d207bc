//! Dropout layers, told apart by numbers so that each has masks of its own.

use candle_core::{Result, Tensor};
use lookbehind_common::job::JobError;

use crate::models::ForwardContext;

/// Numbers a model's dropout layers in the order in which they are made.
#[derive(Default)]
pub(in crate::models) struct Dropouts {
    made: u32,
    /// Of the layers that name none of their own.
    probability: f32,
}

impl Dropouts {
    /// For a model whose layers share a probability.
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

/// Zeroes numbers in training passes.
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

/// Refuses what is no probability of zeroing; `path` is where it stands in the job.
pub(in crate::models) fn check_dropout(path: &str, probability: f32) -> std::result::Result<(), JobError> {
    if (0.0..1.0).contains(&probability) {
        return Ok(());
    }
    Err(JobError::new(path, &format!("expected 0 or more and below 1, found {probability}")))
}

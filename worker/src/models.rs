//! Models: from inputs to logits. Each file follows the notation of its paper.
//!
//! A model asks for its tensors through a [`candle_nn::VarBuilder`], under PyTorch's names. Tensors whose names end in
//! `running_mean` or `running_var` are running statistics: not trained, but updated from what the model reports through
//! its [`ForwardContext`].

mod context;
mod layers;
mod mlp;
mod resnet;
mod sequential;
mod vit;
mod wide_resnet;

use candle_core::{Result, Tensor};
use lookbehind_common::job::JobError;

pub use context::{BatchPosition, ForwardContext, Mode};
pub use mlp::mlp;
pub use resnet::resnet;
pub use sequential::sequential;
pub use vit::vit;
pub use wide_resnet::wide_resnet;

use crate::onnx::Graph;
use crate::places::without_places;

/// What a model's constructor returns.
type Built<T> = std::result::Result<T, BuildError>;

/// Why a model cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A parameter of the job is wrong.
    #[error(transparent)]
    Parameter(#[from] JobError),
    /// A tensor cannot be created.
    #[error(transparent)]
    Tensor(candle_core::Error),
}

impl From<candle_core::Error> for BuildError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(without_places(error))
    }
}

/// A classifier.
pub trait Model: Send + Sync {
    /// Logits f32 [n, classes] of inputs f32 [n, ...].
    ///
    /// The result must be a function of weights, inputs and `context` alone; random numbers come from `context`. Layers
    /// of the tensor library that draw random numbers of their own or update running statistics themselves must not be
    /// used in training. Operations are applied on the calling thread, and gradients are not computed here.
    ///
    /// # Errors
    /// If the shape of the inputs does not fit the model.
    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor>;

    /// Adds its forward pass in evaluation mode to a graph of ONNX, and returns the name of the logits; `None` if it has
    /// none.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    fn onnx(&self, _graph: &mut Graph<'_>) -> Result<Option<String>> {
        Ok(None)
    }

    /// Activation memory: the elements that training keeps for each sample at once, at least. These are the outputs of
    /// layers, which the backward pass needs. A job without room for its largest shard is refused before anything is
    /// computed; 0 means unknown.
    fn elements_per_sample(&self) -> u64 {
        0
    }

    /// Whether all its matrix products are those of [`lookbehind_kernels`], which compute in the precision that a job
    /// declares. A job that declares another precision than f32 is refused if this is `false`.
    fn follows_precision(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod activation_memory_tests;
#[cfg(test)]
pub(crate) mod recorded_tests;

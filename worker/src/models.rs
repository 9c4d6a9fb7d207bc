//! Models: from inputs to logits. Each file reads like the paper that it follows.
//!
//! A model asks for its tensors through a [`candle_nn::VarBuilder`], under PyTorch's names. Tensors whose names
//! end in `running_mean` or `running_var` are statistics: not trained, but updated from what the model reports
//! through its [`Pass`].

mod mlp;
mod pass;

use candle_core::{Result, Tensor};

pub use mlp::mlp;
pub use pass::{Mode, Pass, PassPosition};

/// A classifier.
pub trait Model: Send + Sync {
    /// Logits f32 [n, classes] of inputs f32 [n, ...].
    ///
    /// The result must be a function of weights, inputs and `pass` alone; random numbers come from `pass`.
    /// Layers of the tensor library that draw random numbers of their own or update running statistics
    /// themselves must not be used in training passes.
    ///
    /// # Errors
    /// When the inputs' shape does not fit the model.
    fn forward(&self, inputs: &Tensor, pass: &Pass<'_>) -> Result<Tensor>;
}

//! Requests, reports and errors of an optimizer.

/// A request for the next gradient, or for the next visits of all shards, at the weights that [`Optimizer::weights`](super::Optimizer::weights) returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradientRequest {
    /// Number of the (first) gradient within the outer step, from 0.
    pub index: u32,
    /// Batch to compute it on: number of the batch within the outer step, from 0.
    pub batch: u32,
    /// Whether the weights differ from those of the request before; true for the first of an outer step.
    pub weights_changed: bool,
}

/// What follows a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// The outer step needs another gradient.
    Gradient(GradientRequest),
    /// The outer step is finished.
    Finished(OuterStepReport),
}

/// Measurements of a finished outer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OuterStepReport {
    /// Number of gradients.
    pub gradients: u32,
    /// Number of inner steps, which may be less than k at the end of an epoch.
    pub inner_steps: u32,
    /// Euclidean norm of the first gradient, over all parameters; with visits, the mean of the norms of the shards' first
    /// gradients, weighted by the shards' shares of the batch.
    pub gradient_norm: f64,
    /// Learning rate of the descents.
    pub learning_rate: f64,
    /// Interpolation factor: the mean over the tensors if it is adaptive, 1 for methods that do not interpolate.
    pub alpha: f64,
    /// The least and the greatest factor of a tensor, if it is adaptive.
    pub alpha_range: Option<[f64; 2]>,
}

/// Why a gradient was refused. The optimizer is unchanged, with one exception: if the weights have overflowed in the
/// last descent of an outer step, they are lost and the optimizer cannot continue.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AbsorbError {
    /// A value is not finite: training has diverged, or the data hold such values.
    #[error(
        "gradient {gradient}: {what} of tensor {tensor:?} is {value} at index {index}, expected a finite number"
    )]
    NonFinite {
        /// Number of the gradient within the outer step, from 0.
        gradient: u32,
        /// `gradient`, `batch statistics` or `weights`.
        what: &'static str,
        /// Name of the first tensor with such a value.
        tensor: String,
        /// Index of the first such value within the tensor, row-major.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A flat buffer does not have the layout's length.
    #[error("gradient {gradient}: {what} of {found} elements, expected {expected}")]
    Length {
        /// Number of the gradient within the outer step, from 0.
        gradient: u32,
        /// `gradient`, `batch statistics` or `weights`.
        what: &'static str,
        /// Length of the flat buffer.
        found: usize,
        /// Length according to the layout.
        expected: usize,
    },
    /// Nothing of this kind was requested: no outer step has begun, or it asked for visits where a gradient comes.
    #[error("no gradient was asked for")]
    NotAskedFor,
}

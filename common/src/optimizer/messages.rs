//! What an optimizer asks for and what it answers.

/// A gradient that the optimizer wants next, at the weights of
/// [`Optimizer::weights`](super::Optimizer::weights).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradientRequest {
    /// Counts the gradients of the outer step from 0.
    pub index: u32,
    /// Batch that it is to be computed of: counts the outer step's batches from 0.
    pub batch: u32,
    /// Whether the weights differ from those of the evaluation before; true for the first.
    pub weights_changed: bool,
}

/// What follows a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Another one.
    Gradient(GradientRequest),
    /// The end of the outer step.
    Finished(OuterStepReport),
}

/// What an outer step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OuterStepReport {
    /// Gradients taken.
    pub gradients: u32,
    /// Inner steps.
    pub inner_steps: u32,
    /// Euclidean norm of the first gradient, over all parameters.
    pub gradient_norm: f64,
    /// Learning rate of the descents.
    pub learning_rate: f64,
    /// Interpolation factor, the mean over the tensors where it is adaptive; 1 for methods that do not
    /// interpolate.
    pub alpha: f64,
}

/// Why a gradient was not taken. The optimizer is as it was before, unless the weights themselves have overflowed in
/// the outer step's last descent: then it has nothing left to go on from.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AbsorbError {
    /// Training has diverged, or the data hold numbers that are none.
    #[error(
        "gradient {gradient}: {what} of tensor {tensor:?} is {value} at index {index}, expected a finite number"
    )]
    NonFinite {
        /// Counts the gradients of the outer step from 0.
        gradient: u32,
        /// `gradient`, `batch statistics` or `weights`.
        what: &'static str,
        /// The first tensor with such a number.
        tensor: String,
        /// Its first such number, row-major.
        index: usize,
        /// What stands there.
        value: f32,
    },
    /// A flat buffer does not fit the layout.
    #[error("gradient {gradient}: {what} of {found} numbers, expected {expected}")]
    Length {
        /// Counts the gradients of the outer step from 0.
        gradient: u32,
        /// `gradient` or `batch statistics`.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The layout's.
        expected: usize,
    },
    /// No outer step was begun.
    #[error("no gradient was asked for")]
    NotAskedFor,
}

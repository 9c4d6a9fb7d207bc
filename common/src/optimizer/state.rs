//! The state of an optimizer between outer steps, and its checks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::base::buffer_names;
use crate::flat_buffer::FlatBuffer;
use crate::job::{BaseOptimizer, GroupError};
use crate::layout::Layout;
use crate::model_state::{ModelState, Weights};

/// Everything that an optimizer needs to continue after an outer step. Clones share the flat buffers, so cloning is
/// cheap.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerState {
    /// Slow weights and running statistics.
    pub weights: Weights,
    /// The base optimizer's buffers by name, each as long as the parameters: `momentum` for SGD with momentum,
    /// `first_moment` for Lion, `first_moment` and `second_moment` for Adam and AdamW, none for SGD without momentum.
    pub buffers: BTreeMap<String, Arc<FlatBuffer>>,
    /// Descents that the base optimizer has taken since the job began.
    pub steps: u64,
}

/// Why an optimizer cannot start from a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A flat buffer does not have the layout's length.
    #[error("optimizer state: {name} has {found} elements, expected {expected}")]
    Length {
        /// `parameters`, `running statistics`, or the name of a buffer.
        name: String,
        /// Length of the flat buffer.
        found: usize,
        /// Length according to the layout.
        expected: usize,
    },
    /// The job's groups do not fit the layout.
    #[error(transparent)]
    Groups(#[from] GroupError),
    /// The state lacks a buffer of the base optimizer.
    #[error("optimizer state: the base optimizer's buffer {name:?} is missing")]
    Missing {
        /// Name of the buffer.
        name: &'static str,
    },
    /// The state has a buffer that the base optimizer does not have.
    #[error("optimizer state: the base optimizer has no buffer {name:?}")]
    Unknown {
        /// Name of the buffer.
        name: String,
    },
}

impl OptimizerState {
    /// The state before the first outer step.
    pub(super) fn initial(base: &BaseOptimizer, weights: ModelState<FlatBuffer>) -> Self {
        let zeros = || Arc::new(FlatBuffer::zeros(weights.parameters.len()));
        let buffers = buffer_names(base).iter().map(|&name| (name.to_owned(), zeros())).collect();
        Self { weights: weights.map(Arc::new), buffers, steps: 0 }
    }

    /// Checks that the state has the buffers of the base optimizer and the lengths of the layout.
    pub(super) fn check(&self, base: &BaseOptimizer, layout: &Layout) -> Result<(), StateError> {
        check_length("parameters", &self.weights.parameters, layout.parameters())?;
        check_length("running statistics", &self.weights.statistics, layout.statistics())?;
        let expected = buffer_names(base);
        if let Some(name) = expected.iter().find(|&&name| !self.buffers.contains_key(name)) {
            return Err(StateError::Missing { name });
        }
        for (name, buffer) in &self.buffers {
            if !expected.contains(&name.as_str()) {
                return Err(StateError::Unknown { name: name.clone() });
            }
            check_length(name, buffer, layout.parameters())?;
        }
        Ok(())
    }
}

fn check_length(name: &str, flat_buffer: &FlatBuffer, expected: usize) -> Result<(), StateError> {
    if flat_buffer.len() == expected {
        return Ok(());
    }
    Err(StateError::Length { name: name.to_owned(), found: flat_buffer.len(), expected })
}

#[cfg(test)]
mod tests;

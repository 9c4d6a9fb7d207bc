//! What of an optimizer outlives an outer step, and what can be wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::base::buffer_names;
use crate::flat_buffer::FlatBuffer;
use crate::job::BaseOptimizer;
use crate::layout::Layout;

/// Everything that an optimizer needs to go on after an outer step. Cheap to clone: the flat buffers are shared.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerState {
    /// Slow weights.
    pub parameters: Arc<FlatBuffer>,
    /// Running statistics.
    pub statistics: Arc<FlatBuffer>,
    /// The base optimizer's buffers by name, each as long as the parameters: `momentum` for SGD with
    /// momentum, `first_moment` and `second_moment` for AdamW.
    pub buffers: BTreeMap<String, Arc<FlatBuffer>>,
    /// Steps that the base optimizer has taken.
    pub steps: u64,
}

/// Why an optimizer cannot start from a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A flat buffer does not fit the layout.
    #[error("optimizer state: {name} has {found} numbers, expected {expected}")]
    Length {
        /// Which one.
        name: String,
        /// Its length.
        found: usize,
        /// The layout's.
        expected: usize,
    },
    /// The base optimizer needs a buffer that is not there.
    #[error("optimizer state: the base optimizer's buffer {name:?} is missing")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// There is a buffer that the base optimizer does not have.
    #[error("optimizer state: the base optimizer has no buffer {name:?}")]
    Unknown {
        /// Its name.
        name: String,
    },
}

impl OptimizerState {
    /// The state before the first step.
    pub(super) fn initial(base: &BaseOptimizer, parameters: FlatBuffer, statistics: FlatBuffer) -> Self {
        let zeros = || Arc::new(FlatBuffer::zeros(parameters.len()));
        let buffers = buffer_names(base).iter().map(|&name| (name.to_owned(), zeros())).collect();
        Self { parameters: Arc::new(parameters), statistics: Arc::new(statistics), buffers, steps: 0 }
    }

    /// Checks the state against what a job's optimizer needs.
    pub(super) fn check(&self, base: &BaseOptimizer, layout: &Layout) -> Result<(), StateError> {
        check_length("parameters", &self.parameters, layout.parameters())?;
        check_length("statistics", &self.statistics, layout.statistics())?;
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

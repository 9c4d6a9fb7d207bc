//! Samples of a data set, as values in memory with their shape.

use super::{DataDescription, DataError, Split, Target};

/// Samples that are ready for a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Elements of the inputs, one sample after the other, row-major.
    pub inputs: Vec<f32>,
    /// Shape of the inputs: the number of samples, then the shape of one.
    pub shape: Vec<usize>,
    /// Target of each sample; its classes are below the description's `classes`.
    pub targets: Vec<Target>,
    /// Share of every target that is spread evenly over all classes (label smoothing: Szegedy et al. 2016, section
    /// 7); 0 in the test split.
    pub smoothing: f32,
}

impl Batch {
    /// A batch with as many samples as targets, without label smoothing; the input of a sample has the shape
    /// `input_shape`.
    pub fn new(inputs: Vec<f32>, input_shape: &[usize], targets: Vec<Target>) -> Self {
        let shape = shape(targets.len(), input_shape);
        Self { inputs, shape, targets, smoothing: 0.0 }
    }

    /// Checks that these are as many samples of the described data set as were requested, each with all its elements
    /// and a target. Data sets may come from other crates and return anything; elements of one sample must never be
    /// taken for those of another that is incomplete.
    ///
    /// # Errors
    /// Names the split, what was found and what was expected.
    pub fn check(
        &self,
        split: Split,
        samples: usize,
        description: &DataDescription,
    ) -> Result<(), DataError> {
        let refuse = |problem| Err(DataError::Content { split, problem });
        let expected = shape(samples, &description.input_shape);
        if self.shape != expected {
            return refuse(format!("found a batch of shape {:?}, expected {expected:?}", self.shape));
        }
        if self.inputs.len() != samples * description.input_size() {
            return refuse(format!("found {} values in a batch of shape {expected:?}", self.inputs.len()));
        }
        if self.targets.len() != samples {
            return refuse(format!("found {} targets in a batch, expected {samples}", self.targets.len()));
        }
        Ok(())
    }
}

/// Shape of a batch: the number of samples, then the shape of one.
fn shape(samples: usize, input_shape: &[usize]) -> Vec<usize> {
    [&[samples], input_shape].concat()
}

#[cfg(test)]
mod tests;

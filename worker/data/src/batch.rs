//! Some samples of a data set: values in memory, and the shape that they have.

use super::{DataDescription, DataError, Split, Target};

/// Some samples, ready for a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Inputs, one sample after the other, row-major.
    pub inputs: Vec<f32>,
    /// Shape of the inputs: the number of samples, then the shape of one.
    pub shape: Vec<usize>,
    /// What each sample should be recognised as; classes are below the description's `classes`.
    pub targets: Vec<Target>,
    /// Share of every target that is spread evenly over all classes (label smoothing: Szegedy et al. 2016, section
    /// 7); 0 in the test split.
    pub smoothing: f32,
}

impl Batch {
    /// As many samples as there are targets, without label smoothing; one has the shape `input_shape`.
    pub fn new(inputs: Vec<f32>, input_shape: &[usize], targets: Vec<Target>) -> Self {
        let shape = shape(targets.len(), input_shape);
        Self { inputs, shape, targets, smoothing: 0.0 }
    }

    /// Whether these are as many samples of the described data set as were asked for, each with all its values and a
    /// target. A data set of somebody else's may return anything, and no value of another sample may stand in for a
    /// missing one.
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

/// Shape of a batch of `samples` samples.
fn shape(samples: usize, input_shape: &[usize]) -> Vec<usize> {
    [&[samples], input_shape].concat()
}

#[cfg(test)]
mod tests;

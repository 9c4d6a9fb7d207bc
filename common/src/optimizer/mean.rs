//! The mean of gradients, for a descent with several of them.

use super::elementwise;
use crate::flat_buffer::FlatBuffer;

/// Gradients of an outer step that wait for the descent with their mean.
#[derive(Debug, Default)]
pub(super) struct Mean {
    sum: Option<FlatBuffer>,
    count: u32,
}

impl Mean {
    /// Adds a gradient.
    pub(super) fn add(&mut self, gradient: &[f32]) {
        match &mut self.sum {
            Some(sum) => elementwise::add_assign(sum, gradient),
            None => self.sum = Some(gradient.to_vec().into()),
        }
        self.count += 1;
    }

    /// The mean of the gradients that were added and of a last one; `None` if that is the only one. The sum is in f32, in
    /// the order of the gradients, and divided at the end.
    pub(super) fn take(&mut self, last: &[f32]) -> Option<FlatBuffer> {
        let mut sum = self.sum.take()?;
        let count = (std::mem::take(&mut self.count) + 1) as f32;
        elementwise::add_assign(&mut sum, last);
        sum.iter_mut().for_each(|value| *value /= count);
        Some(sum)
    }
}

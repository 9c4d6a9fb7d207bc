//! The values of a whole model: of its parameters and of its running statistics.

use std::borrow::Borrow;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use crate::flat_buffer::FlatBuffer;
use crate::layout::TensorKind;

/// A `T` for all parameters of a model and another for all its running statistics.
///
/// Flat buffers, owned, shared or borrowed, hold the tensors of their kind in the order of the layout: `parameters` has
/// [`Layout::parameters`](crate::layout::Layout::parameters) elements and `statistics` has
/// [`Layout::statistics`](crate::layout::Layout::statistics), which is 0 for a model without running statistics. Numbers
/// are lengths of such flat buffers, in elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelState<T> {
    /// Of all parameters.
    pub parameters: T,
    /// Of all running statistics.
    pub statistics: T,
}

/// One version of a model's weights. Clones share the flat buffers.
pub type Weights = ModelState<Arc<FlatBuffer>>;

impl<T> ModelState<T> {
    /// The results of `f` for the parameters, then for the running statistics.
    pub fn map<U>(self, mut f: impl FnMut(T) -> U) -> ModelState<U> {
        ModelState { parameters: f(self.parameters), statistics: f(self.statistics) }
    }
}

impl<T: Borrow<FlatBuffer>> ModelState<T> {
    /// The values of the flat buffers.
    pub fn values(&self) -> ModelState<&[f32]> {
        ModelState { parameters: self.parameters.borrow(), statistics: self.statistics.borrow() }
    }

    /// The lengths of the flat buffers, in elements.
    pub fn lengths(&self) -> ModelState<usize> {
        self.values().map(<[f32]>::len)
    }
}

impl<T> Index<TensorKind> for ModelState<T> {
    type Output = T;

    fn index(&self, kind: TensorKind) -> &T {
        match kind {
            TensorKind::Parameter => &self.parameters,
            TensorKind::RunningStatistic => &self.statistics,
        }
    }
}

impl<T> IndexMut<TensorKind> for ModelState<T> {
    fn index_mut(&mut self, kind: TensorKind) -> &mut T {
        match kind {
            TensorKind::Parameter => &mut self.parameters,
            TensorKind::RunningStatistic => &mut self.statistics,
        }
    }
}

impl ModelState<usize> {
    /// Bytes of flat buffers of these lengths.
    pub fn bytes(self) -> u64 {
        ((self.parameters + self.statistics) * size_of::<f32>()) as u64
    }
}

/// In the order in which they are sent: parameters, then running statistics.
impl<T> From<ModelState<T>> for [T; 2] {
    fn from(state: ModelState<T>) -> Self {
        [state.parameters, state.statistics]
    }
}

/// From the order in which they are sent: parameters, then running statistics.
impl<T> From<[T; 2]> for ModelState<T> {
    fn from([parameters, statistics]: [T; 2]) -> Self {
        Self { parameters, statistics }
    }
}

//! Converts a model's tensors between flat buffers, which are transferred, and variables, which the model computes
//! with.

mod initial;
mod recorder;

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Tensor, TensorId, Var};
use candle_nn::Init;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::layout::{Layout, LayoutError, TensorEntry, TensorKind};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::random::{Key, Purpose};
use rayon::prelude::*;

use lookbehind_kernels::{Gradients, copy_from, copy_into};

use crate::places::without_places;

pub use recorder::Recorder;

/// All tensors of a built model, in the order in which it asked for them.
pub struct ModelTensors {
    layout: Arc<Layout>,
    /// The layout of gradients and batch statistics: without what is frozen.
    gradient_layout: Arc<Layout>,
    /// One for each entry of the layout, in its order.
    tensors: Vec<ModelTensor>,
    by_name: HashMap<String, usize>,
}

struct ModelTensor {
    variable: Var,
    init: Init,
    /// Whether it is a parameter without a gradient.
    frozen: bool,
}

impl ModelTensor {
    /// The tensor that the model computes with. That of a frozen parameter shares the variable's memory, but no operation
    /// on it is recorded.
    fn for_model(&self) -> Tensor {
        let tensor = self.variable.as_tensor();
        if self.frozen { tensor.detach() } else { tensor.clone() }
    }
}

/// Why a model's tensors cannot be used as asked.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The model's tensors do not form a layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A flat buffer does not have the layout's length.
    #[error("{what}: {found} elements, expected {expected}")]
    Length {
        /// Parameters or running statistics.
        what: &'static str,
        /// Length of the flat buffer, in elements.
        found: usize,
        /// Length that the layout requires.
        expected: usize,
    },
    /// A tensor could not be read or written.
    #[error("tensor {name:?}: {source}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// The error of the tensor library.
        source: candle_core::Error,
    },
    /// The model did not report each running statistic exactly once in training.
    #[error(
        "running statistic {name:?}: the model reported it {found} times in a training context, expected once"
    )]
    Reported {
        /// Name of the running statistic.
        name: String,
        /// How often it was reported.
        found: usize,
    },
    /// The model reported a batch statistic in training, where running statistics are frozen.
    #[error(
        "running statistic {name:?}: reported in a training context, but optimizer.batch_statistics is \"frozen\"; a \
         model asks the context whether it uses batch statistics"
    )]
    Frozen {
        /// The name under which it was reported.
        name: String,
    },
    /// The model reported, in training, something that is not one of its running statistics.
    #[error(
        "running statistic {name:?}: reported in a training context, but the model has none of that name"
    )]
    UnknownRunningStatistic {
        /// The name under which it was reported.
        name: String,
    },
}

impl StateError {
    /// The error for a tensor that could not be read or written.
    pub(crate) fn tensor(name: &str, source: candle_core::Error) -> Self {
        Self::Tensor { name: name.to_owned(), source: without_places(source) }
    }
}

impl ModelTensors {
    /// Names, shapes and kinds of the tensors.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The tensors that the model computes with, by their identity, with their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = (TensorId, &str)> {
        let entries = self.layout.entries().iter();
        self.tensors
            .iter()
            .zip(entries)
            .map(|(tensor, entry)| (tensor.variable.id(), entry.spec.name.as_str()))
    }

    /// The tensors that have gradients or batch statistics.
    pub fn gradient_layout(&self) -> &Arc<Layout> {
        &self.gradient_layout
    }

    /// Draws initial parameters and running statistics: a function of the seed and of each tensor's number, shape and
    /// initialiser.
    pub fn initial(&self, seed: u64) -> ModelState<FlatBuffer> {
        self.fill(|number, entry, target| {
            let key = Key { layer: number, ..Key::new(seed, Purpose::InitialWeights) };
            initial::fill(self.tensors[number as usize].init, &entry.spec.shape, key, target);
        })
    }

    /// Draws weights that exercise every tensor, whatever its initialiser, so that the probe distinguishes compute
    /// classes.
    pub fn probe(&self, seed: u64) -> ModelState<FlatBuffer> {
        self.fill(|number, entry, target| {
            let key = Key { layer: number, ..Key::new(seed, Purpose::Probe) };
            initial::fill_probe(entry, key, target);
        })
    }

    fn fill(&self, fill: impl Fn(u32, &TensorEntry, &mut [f32])) -> ModelState<FlatBuffer> {
        let mut state = self.layout.lengths().map(FlatBuffer::zeros);
        for (number, entry) in (0_u32..).zip(self.layout.entries()) {
            fill(number, entry, &mut state[entry.spec.kind][entry.range.clone()]);
        }
        state
    }

    /// Overwrites the model's variables.
    ///
    /// # Errors
    /// If a length is not the layout's, or the device fails.
    pub fn load(&self, state: ModelState<&[f32]>) -> Result<(), StateError> {
        check_lengths(&self.layout, state)?;
        let load = |(tensor, entry): (&ModelTensor, &TensorEntry)| {
            copy_from(&tensor.variable, &state[entry.spec.kind][entry.range.clone()])
                .map_err(|source| StateError::tensor(&entry.spec.name, source))
        };
        first_error(self.tensors.par_iter().zip(self.layout.entries()).map(load))
    }

    /// The parameters' gradients in the order of the gradients' layout; zeros if the loss does not depend on a parameter.
    ///
    /// # Errors
    /// If a gradient cannot be fetched or does not have its parameter's shape.
    pub(crate) fn gradients(&self, gradients: &Gradients) -> Result<FlatBuffer, StateError> {
        let mut flat_buffer = FlatBuffer::zeros(self.gradient_layout.parameters());
        let (mut rest, mut places) = (&mut flat_buffer[..], Vec::new());
        for (tensor, entry) in self.tensors.iter().zip(self.layout.entries()) {
            if entry.spec.kind == TensorKind::Parameter && !tensor.frozen {
                let (place, after) = rest.split_at_mut(entry.range.len());
                places.extend(gradients.get(&tensor.variable).map(|gradient| (gradient, entry, place)));
                rest = after;
            }
        }
        let copy = |(gradient, entry, place): (&Tensor, &TensorEntry, &mut [f32])| {
            copy_into(gradient, place).map_err(|source| StateError::tensor(&entry.spec.name, source))
        };
        first_error(places.into_par_iter().map(copy))?;
        Ok(flat_buffer)
    }

    /// The batch statistics that a model reported in training, times the shard's `share` of the batch, in the layout's
    /// order; none if they are frozen.
    ///
    /// # Errors
    /// If a batch statistic was not reported exactly once, has the wrong size, or is not one of the model's; if they are
    /// frozen, if any was reported.
    pub fn statistics(&self, reported: &[(String, Tensor)], share: f32) -> Result<FlatBuffer, StateError> {
        if self.gradient_layout.statistics() < self.layout.statistics() {
            return match reported.first() {
                Some((name, _)) => Err(StateError::Frozen { name: name.clone() }),
                None => Ok(FlatBuffer::default()),
            };
        }
        let mut flat_buffer = FlatBuffer::zeros(self.layout.statistics());
        for (entry, values) in self.reported_in_order(reported)? {
            copy_into(values, &mut flat_buffer[entry.range.clone()])
                .map_err(|source| StateError::tensor(&entry.spec.name, source))?;
        }
        flat_buffer.iter_mut().for_each(|value| *value *= share);
        Ok(flat_buffer)
    }

    /// The batch statistics that a model reported in training, in the layout's order.
    pub(crate) fn reported_in_order<'a>(
        &self,
        reported: &'a [(String, Tensor)],
    ) -> Result<Vec<(&TensorEntry, &'a Tensor)>, StateError> {
        let mut found: Vec<Vec<&Tensor>> = vec![Vec::new(); self.tensors.len()];
        for (name, values) in reported {
            let (number, _) = self
                .running_statistic(name)
                .ok_or_else(|| StateError::UnknownRunningStatistic { name: name.clone() })?;
            found[number].push(values);
        }
        let statistics = self.layout.entries().iter().zip(found);
        let statistics = statistics.filter(|(entry, _)| entry.spec.kind == TensorKind::RunningStatistic);
        let once = |(entry, found): (_, Vec<&'a Tensor>)| match *found {
            [values] => Ok((entry, values)),
            _ => {
                let entry: &TensorEntry = entry;
                Err(StateError::Reported { name: entry.spec.name.clone(), found: found.len() })
            }
        };
        statistics.map(once).collect()
    }

    /// The elements with a gradient among those of all parameters.
    #[cfg(feature = "cuda")]
    pub(crate) fn with_gradient(&self, parameters: Vec<f32>) -> FlatBuffer {
        if self.gradient_layout.parameters() == parameters.len() {
            return FlatBuffer::from(parameters);
        }
        let entries = self.layout.entries().iter().zip(&self.tensors);
        let trained =
            entries.filter(|(entry, tensor)| entry.spec.kind == TensorKind::Parameter && !tensor.frozen);
        let elements: Vec<f32> =
            trained.flat_map(|(entry, _)| parameters[entry.range.clone()].iter().copied()).collect();
        FlatBuffer::from(elements)
    }

    /// The model's variables with their entries in the layout.
    #[cfg(feature = "cuda")]
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&TensorEntry, &Var)> {
        self.layout.entries().iter().zip(self.tensors.iter().map(|tensor| &tensor.variable))
    }

    fn running_statistic(&self, name: &str) -> Option<(usize, &TensorEntry)> {
        let number = *self.by_name.get(name)?;
        let entry = self.layout.entries().get(number)?;
        (entry.spec.kind == TensorKind::RunningStatistic).then_some((number, entry))
    }
}

/// Runs all and returns the first error in their order, not the one that some thread meets first: errors are the same
/// on every worker.
fn first_error(all: impl IndexedParallelIterator<Item = Result<(), StateError>>) -> Result<(), StateError> {
    all.collect::<Vec<_>>().into_iter().collect()
}

/// Checks that the flat buffers have the layout's lengths.
pub(crate) fn check_lengths(layout: &Layout, state: ModelState<&[f32]>) -> Result<(), StateError> {
    for (what, kind) in
        [("parameters", TensorKind::Parameter), ("running statistics", TensorKind::RunningStatistic)]
    {
        let (found, expected) = (state[kind].len(), layout.lengths()[kind]);
        if found != expected {
            return Err(StateError::Length { what, found, expected });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

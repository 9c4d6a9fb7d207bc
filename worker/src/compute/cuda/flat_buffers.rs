//! Copies between a model's tensors on a GPU and its flat buffers: parameters first, then running statistics.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor};
use lookbehind_common::layout::TensorKind;

use super::sum::Sum;
use crate::parameters::ModelTensors;
use lookbehind_kernels::cuda::{self, Destination, Gpu, Landing, Segment, View};

/// Where a GPU receives weights, whichever thread sends them.
pub(super) type Weights = Arc<Mutex<Landing<f32>>>;

/// The flat buffers of a model on a GPU.
pub(super) struct FlatBuffers {
    parameters: Destination,
    statistics: Destination,
    weights: Weights,
}

impl FlatBuffers {
    /// The flat buffers of a model whose variables are on the GPU.
    pub(super) fn new(tensors: &ModelTensors, gpu: &Gpu) -> Result<Self> {
        let layout = tensors.layout();
        Ok(Self {
            parameters: destination(tensors, TensorKind::Parameter, 0, gpu)?,
            statistics: destination(tensors, TensorKind::RunningStatistic, layout.parameters(), gpu)?,
            weights: Arc::new(Mutex::new(Landing::new(layout.elements(), gpu)?)),
        })
    }

    /// The memory that receives weights.
    pub(super) fn weights(&self) -> Weights {
        Arc::clone(&self.weights)
    }

    /// Overwrites the model's variables with the weights that were received last.
    pub(super) fn take_weights(&self, gpu: &Gpu) -> Result<()> {
        // After a panic of another thread copies may still be running; the landing keeps track of them.
        let mut weights = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        weights.take(gpu, |arrived| {
            self.parameters.scatter(View::from(arrived), gpu)?;
            self.statistics.scatter(View::from(arrived), gpu)
        })
    }

    /// Gathers gradients and batch statistics, each in the order of the layout, into one flat buffer; the statistics
    /// are multiplied by the shard's `share` of the batch.
    pub(super) fn gather(
        &mut self,
        gradients: Vec<Option<Tensor>>,
        statistics: Vec<Option<Tensor>>,
        share: f32,
        gpu: &Gpu,
    ) -> Result<Sum> {
        let mut segments =
            [(self.parameters.segment(), gradients, 1.0), (self.statistics.segment(), statistics, share)];
        cuda::gather(&mut segments, gpu).map(Sum)
    }
}

/// The variables of one kind, whose flat buffer begins at element `first`.
fn destination(model: &ModelTensors, kind: TensorKind, first: usize, gpu: &Gpu) -> Result<Destination> {
    let (mut lens, mut tensors, mut end) = (Vec::new(), Vec::new(), 0);
    for (entry, variable) in model.variables().filter(|(entry, _)| entry.spec.kind == kind) {
        if entry.range.start != end {
            candle_core::bail!(
                "tensor {:?} begins at element {} of its flat buffer, expected {end}",
                entry.spec.name,
                entry.range.start
            );
        }
        end = entry.range.end;
        lens.push(entry.range.len());
        tensors.push(variable.as_tensor().clone());
    }
    Destination::new(Segment::new(lens, first, gpu)?, tensors, gpu)
}

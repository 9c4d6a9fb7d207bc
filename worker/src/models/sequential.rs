//! A model from a list of layers in the job file, named and computed as PyTorch's `nn.Sequential` of the same layers:
//! layer 3 is `3.weight`, a layer of a residual block's body `3.body.0.weight`, of its shortcut `3.shortcut.0.weight`.
//!
//! The shape of a sample is derived from layer to layer while the model is built, so that a layer that does not fit is
//! refused before anything is computed.

mod build;
mod layer;
mod onnx;
mod parameters;
mod site;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use self::build::Architect;
use self::layer::{Layer, run};
use super::layers::{ActivationMemory, ImageShape, Shape};
use super::{Built, ForwardContext, Model};
use crate::data::DataDescription;
use crate::onnx::Graph;

/// The parameters under `[model]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SequentialParameters {
    /// Each layer's `kind` and the parameters of that kind.
    layers: Vec<Parameters>,
}

struct Sequential {
    /// Whether samples are images, which the layers take as channels last.
    images: bool,
    layers: Vec<Layer>,
    activation_memory: ActivationMemory,
}

/// Builds the listed layers for a data set. Inputs of shape [channels, height, width] or [height, width] are images,
/// others are flattened to features; the last layer must have one output for each class.
///
/// # Errors
/// If a parameter is wrong, or a layer does not fit the output shape of the layer before it.
pub fn sequential(
    parameters: &Parameters,
    data: &DataDescription,
    builder: VarBuilder<'_>,
) -> Built<Box<dyn Model>> {
    let SequentialParameters { layers } = parse_parameters("model", parameters)?;
    let input = Shape::of(data);
    let mut architect = Architect::new(data.classes);
    let (layers, output) = architect.chain("model.layers", &layers, input, &builder)?;
    if output != Shape::Features(data.classes) {
        let problem =
            format!("the last layer gives {output}, expected {} features, one for each class", data.classes);
        return Err(JobError::new("model.layers", &problem).into());
    }
    let activation_memory = architect.activation_memory();
    Ok(Box::new(Sequential { images: matches!(input, Shape::Image(_)), layers, activation_memory }))
}

impl Model for Sequential {
    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        let x = if self.images {
            ImageShape::channels_last(inputs)? // [n, h, w, c]
        } else {
            inputs.flatten_from(1)? // [n, f]
        };
        run(&self.layers, x, context) // [n, classes]
    }

    fn onnx(&self, graph: &mut Graph<'_>) -> Result<Option<String>> {
        let x = if self.images { graph.images() } else { graph.features() };
        onnx::graph(&self.layers, x, graph).map(Some)
    }

    fn elements_per_sample(&self) -> u64 {
        self.activation_memory.elements()
    }

    fn follows_precision(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;

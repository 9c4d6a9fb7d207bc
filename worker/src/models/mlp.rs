//! A multilayer perceptron: affine maps with ReLU between them, named `layers.N.weight` and `layers.N.bias`.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::layers::{ActivationMemory, Linear};
use super::{Built, ForwardContext, Model};
use crate::data::DataDescription;
use crate::onnx::Graph;
use lookbehind_kernels as ops;

/// Most units in a hidden layer.
const MAX_UNITS: usize = 1 << 24;
/// Most hidden layers.
const MAX_LAYERS: usize = 1000;

/// The parameters under `[model]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MlpParameters {
    /// Units of each hidden layer, starting at the input; empty for a linear classifier.
    hidden: Vec<usize>,
}

struct Mlp {
    layers: Vec<Linear>,
    activation_memory: ActivationMemory,
}

/// Builds a perceptron for a data set.
///
/// # Errors
/// If a parameter is wrong.
pub fn mlp(
    parameters: &Parameters,
    data: &DataDescription,
    builder: VarBuilder<'_>,
) -> Built<Box<dyn Model>> {
    let MlpParameters { hidden } = parse_parameters("model", parameters)?;
    check_hidden(&hidden)?;
    let mut units = vec![data.input_size()];
    units.extend(&hidden);
    units.push(data.classes);
    let mut activation_memory = ActivationMemory::default();
    hidden.iter().for_each(|&units| activation_memory.add(2, units)); // before and after ReLU
    activation_memory.add(1, data.classes);
    let layers = units
        .windows(2)
        .enumerate()
        .map(|(number, units)| Linear::new(units[0], units[1], &builder.pp("layers").pp(number)));
    Ok(Box::new(Mlp { layers: layers.collect::<Result<_>>()?, activation_memory }))
}

fn check_hidden(hidden: &[usize]) -> std::result::Result<(), JobError> {
    if hidden.len() > MAX_LAYERS {
        let problem = format!("expected at most {MAX_LAYERS} layers, found {}", hidden.len());
        return Err(JobError::new("model.hidden", &problem));
    }
    match hidden.iter().position(|units| !(1..=MAX_UNITS).contains(units)) {
        None => Ok(()),
        Some(layer) => {
            let problem = format!("expected 1 to {MAX_UNITS} units, found {}", hidden[layer]);
            Err(JobError::new(&format!("model.hidden[{layer}]"), &problem))
        }
    }
}

impl Model for Mlp {
    fn forward(&self, inputs: &Tensor, _pass: &ForwardContext<'_>) -> Result<Tensor> {
        let mut x = inputs.flatten_from(1)?; // [n, in]
        for (number, layer) in self.layers.iter().enumerate() {
            if number > 0 {
                x = ops::relu(&x)?;
            }
            x = layer.forward(&x)?; // [n, units]
        }
        Ok(x) // [n, classes]
    }

    fn onnx(&self, graph: &mut Graph<'_>) -> Result<Option<String>> {
        let mut x = graph.features();
        for (number, layer) in self.layers.iter().enumerate() {
            if number > 0 {
                x = graph.node("Relu", &[&x], &[]);
            }
            x = layer.onnx(&x, graph)?;
        }
        Ok(Some(x))
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

//! The layers of a sequential model in a graph of ONNX.

use candle_core::Result;

use super::layer::{Elementwise, Layer};
use crate::models::layers::onnx::{avg_pool, max_pool};
use crate::onnx::{Attribute, Graph};
use lookbehind_kernels::Activation;

/// Adds the layers, one after the other; returns the name of the last one's output.
pub(super) fn graph(layers: &[Layer], x: String, graph: &mut Graph<'_>) -> Result<String> {
    layers.iter().try_fold(x, |x, layer| of_layer(layer, x, graph))
}

fn of_layer(layer: &Layer, x: String, graph: &mut Graph<'_>) -> Result<String> {
    match layer {
        Layer::Linear(layer) => layer.onnx(&x, graph),
        Layer::Conv2d(layer) => layer.onnx(&x, graph),
        Layer::BatchNorm(layer) => layer.onnx(&x, None, Activation::Identity, graph),
        Layer::GroupNorm(layer) => layer.onnx(&x, graph),
        Layer::LayerNorm(layer) => layer.onnx(&x, graph),
        Layer::MaxPool(pool) => Ok(max_pool(&x, *pool, graph)),
        Layer::AvgPool(pool) => Ok(avg_pool(&x, *pool, graph)),
        Layer::GlobalAvgPool => Ok(graph.node("GlobalAveragePool", &[&x], &[])),
        Layer::Relu => Ok(graph.node("Relu", &[&x], &[])),
        Layer::Elementwise(function) => Ok(of_elements(*function, &x, graph)),
        Layer::Dropout(_) => Ok(x),
        Layer::Flatten => Ok(graph.node("Flatten", &[&x], &[Attribute::Int("axis", 1)])),
        Layer::Residual(block) => {
            let body = self::graph(&block.body, x.clone(), graph)?;
            let shortcut = self::graph(&block.shortcut, x, graph)?;
            Ok(graph.node("Add", &[&body, &shortcut], &[]))
        }
    }
}

fn of_elements(function: Elementwise, x: &str, graph: &mut Graph<'_>) -> String {
    match function {
        Elementwise::Gelu => graph.node("Gelu", &[x], &[]),
        Elementwise::Silu => {
            let sigmoid = graph.node("Sigmoid", &[x], &[]);
            graph.node("Mul", &[x, &sigmoid], &[])
        }
        Elementwise::Tanh => graph.node("Tanh", &[x], &[]),
        Elementwise::Sigmoid => graph.node("Sigmoid", &[x], &[]),
    }
}

//! A residual network in a graph of ONNX.

use candle_core::Result;

use super::{Block, ConvNorm, ResNet};
use crate::models::layers::onnx::{max_pool, mean_of_pixels};
use crate::onnx::Graph;
use lookbehind_kernels::Activation;

impl ConvNorm {
    /// activation(norm(conv(x)) + residual).
    fn graph(
        &self,
        x: &str,
        residual: Option<&str>,
        activation: Activation,
        graph: &mut Graph<'_>,
    ) -> Result<String> {
        let y = self.conv.onnx(x, graph)?;
        self.norm.onnx(&y, residual, activation, graph)
    }
}

impl Block {
    fn graph(&self, x: &str, graph: &mut Graph<'_>) -> Result<String> {
        let mut y = x.to_owned();
        for layer in &self.inner {
            y = layer.graph(&y, None, Activation::Relu, graph)?;
        }
        let residual = match &self.shortcut {
            Some(shortcut) => shortcut.graph(x, None, Activation::Identity, graph)?,
            None => x.to_owned(),
        };
        self.last.graph(&y, Some(&residual), Activation::Relu, graph)
    }
}

impl ResNet {
    /// Adds the forward pass; returns the name of the logits.
    pub(super) fn graph(&self, graph: &mut Graph<'_>) -> Result<String> {
        let x = graph.images();
        let mut x = self.stem.graph(&x, None, Activation::Relu, graph)?;
        if let Some(pool) = self.pool {
            x = max_pool(&x, pool, graph);
        }
        for block in &self.blocks {
            x = block.graph(&x, graph)?;
        }
        self.linear.onnx(&mean_of_pixels(&x, graph), graph)
    }
}

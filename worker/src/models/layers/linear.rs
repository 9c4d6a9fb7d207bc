//! The fully connected layer.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::within_fan_in;
use crate::onnx::{Attribute, Graph};
use lookbehind_kernels as ops;

/// y = x Wᵀ + b, with W `weight` [out, in] and b `bias` [out].
pub(in crate::models) struct Linear {
    weight: Tensor,
    /// Zeros that are not trained if the layer has no bias.
    bias: Tensor,
}

impl Linear {
    /// A layer with bias.
    pub(in crate::models) fn new(inputs: usize, outputs: usize, builder: &VarBuilder<'_>) -> Result<Self> {
        Self::with_init(inputs, outputs, [within_fan_in(inputs); 2], builder)
    }

    /// A layer without bias.
    pub(in crate::models) fn without_bias(
        inputs: usize,
        outputs: usize,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let weight = builder.get_with_hints((outputs, inputs), "weight", within_fan_in(inputs))?;
        let bias = Tensor::zeros(outputs, weight.dtype(), weight.device())?;
        Ok(Self { weight, bias })
    }

    /// A layer whose weights and biases are drawn from the given distributions.
    pub(in crate::models) fn with_init(
        inputs: usize,
        outputs: usize,
        [weight, bias]: [Init; 2],
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        Ok(Self {
            weight: builder.get_with_hints((outputs, inputs), "weight", weight)?,
            bias: builder.get_with_hints(outputs, "bias", bias)?,
        })
    }

    /// [.., in] to [.., out].
    pub(in crate::models) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, &self.bias)
    }

    /// [n, in] to [n, out] in a graph of ONNX.
    pub(in crate::models) fn onnx(&self, x: &str, graph: &mut Graph<'_>) -> Result<String> {
        let mut inputs = vec![x.to_owned(), graph.tensor(&self.weight)?];
        if graph.has(&self.bias) {
            inputs.push(graph.tensor(&self.bias)?);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        Ok(graph.node("Gemm", &inputs, &[Attribute::Int("transB", 1)]))
    }

    /// [n, t, in] to [n, t, out] in a graph of ONNX; for a layer with bias.
    pub(in crate::models) fn onnx_of_tokens(&self, x: &str, graph: &mut Graph<'_>) -> Result<String> {
        let (weight, bias) = (graph.tensor(&self.weight)?, graph.tensor(&self.bias)?);
        let weight = graph.node("Transpose", &[&weight], &[Attribute::Ints("perm", &[1, 0])]);
        let product = graph.node("MatMul", &[x, &weight], &[]);
        Ok(graph.node("Add", &[&product, &bias], &[]))
    }
}

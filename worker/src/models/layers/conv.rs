//! The convolutional layer.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::within_fan_in;
use crate::onnx::{Attribute, Graph};
use lookbehind_kernels::{self as ops, Conv2d};

/// Shape of a convolution with a square window.
#[derive(Clone, Copy, Debug)]
pub(in crate::models) struct ConvSpec {
    /// Channels of the input.
    pub(in crate::models) inputs: usize,
    /// Channels of the output.
    pub(in crate::models) outputs: usize,
    /// Height and width of the window.
    pub(in crate::models) size: usize,
    /// Stride, padding, dilation and groups.
    pub(in crate::models) options: Conv2d,
    /// Whether a bias is added. A bias before a batch normalisation would have no effect.
    pub(in crate::models) bias: bool,
}

impl ConvSpec {
    /// A convolution without bias and with stride 1, padded so that the output has the input's height and width if the
    /// window's size is odd.
    pub(in crate::models) fn same(inputs: usize, outputs: usize, size: usize) -> Self {
        let options = Conv2d { padding: size / 2, ..Conv2d::default() };
        Self { inputs, outputs, size, options, bias: false }
    }

    /// The same window with another stride.
    pub(in crate::models) fn stride(mut self, stride: usize) -> Self {
        self.options.stride = stride;
        self
    }
}

/// Cross-correlation with `weight` [out, in / groups, size, size], and `bias` [out] if it has one.
pub(in crate::models) struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    options: Conv2d,
}

impl Conv {
    /// A layer initialised as in PyTorch.
    pub(in crate::models) fn new(spec: ConvSpec, builder: &VarBuilder<'_>) -> Result<Self> {
        let inputs = spec.inputs / spec.options.groups;
        let init = within_fan_in(inputs * spec.size * spec.size);
        Self::with_init(spec, [init; 2], builder)
    }

    /// A layer whose weights and biases are drawn from the given distributions.
    pub(in crate::models) fn with_init(
        spec: ConvSpec,
        [weight, bias]: [Init; 2],
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let ConvSpec { inputs, outputs, size, options, .. } = spec;
        let shape = (outputs, inputs / options.groups, size, size);
        let weight = builder.get_with_hints(shape, "weight", weight)?;
        let bias = spec.bias.then(|| builder.get_with_hints(outputs, "bias", bias)).transpose()?;
        Ok(Self { weight, bias, options })
    }

    /// [n, h, w, in] to [n, h', w', out].
    pub(in crate::models) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = ops::conv2d(x, &self.weight, self.options)?;
        match &self.bias {
            Some(bias) => ops::add_bias(&y, bias),
            None => Ok(y),
        }
    }

    /// [n, in, h, w] to [n, out, h', w'] in a graph of ONNX.
    pub(in crate::models) fn onnx(&self, x: &str, graph: &mut Graph<'_>) -> Result<String> {
        let weight = graph.tensor(&self.weight)?;
        let bias = self.bias.as_ref().map(|bias| graph.tensor(bias)).transpose()?;
        let inputs: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
        let Conv2d { stride, padding, dilation, groups } = self.options;
        let [stride, padding, dilation] = [stride, padding, dilation].map(|pixels| [pixels as i64; 4]);
        let attributes = [
            Attribute::Ints("strides", &stride[..2]),
            Attribute::Ints("pads", &padding),
            Attribute::Ints("dilations", &dilation[..2]),
            Attribute::Int("group", groups as i64),
        ];
        Ok(graph.node("Conv", &inputs, &attributes))
    }
}

//! Residual networks (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016): a stem, stages
//! of w, 2w, 4w, 8w channels with strides 1, 2, 2, 2, and global average pooling. The stem is the one that is usual for
//! CIFAR, 3 × 3 without pooling, or the paper's for ImageNet, 7 × 7 with stride 2 and a maximum over 3 × 3 with stride 2.
//! In a bottleneck, the 3 × 3 convolution has the stride, as in torchvision and timm.
//!
//! Names: `conv1`, `bn1`, `layerN.M.{conv1,bn1,conv2,bn2}` (and `conv3`, `bn3` in a bottleneck),
//! `layerN.M.shortcut.{0,1}` if the block changes the shape, `linear`.

mod onnx;
mod parameters;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use lookbehind_common::job::{Parameters, parse_parameters};

use self::parameters::{BlockKind, ResNetParameters};
use super::layers::{ActivationMemory, Conv, ConvSpec, ImageShape, Linear, Norm, NormKind};
use super::{Built, ForwardContext, Model};
use crate::data::DataDescription;
use crate::onnx::Graph;
use lookbehind_kernels::{self as ops, Activation, Pool2d};

/// A convolution and the normalisation of its output.
struct ConvNorm {
    conv: Conv,
    norm: Norm,
    /// Channels of the output.
    outputs: usize,
}

impl ConvNorm {
    fn new(
        spec: ConvSpec,
        norm: NormKind,
        conv_builder: &VarBuilder<'_>,
        norm_builder: &VarBuilder<'_>,
    ) -> Built<Self> {
        let conv = Conv::new(spec, conv_builder)?;
        Ok(Self { conv, norm: Norm::new(norm, spec.outputs, norm_builder)?, outputs: spec.outputs })
    }

    /// activation(norm(conv(x)) + residual).
    fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        activation: Activation,
        context: &ForwardContext<'_>,
    ) -> Result<Tensor> {
        self.norm.forward(&self.conv.forward(x)?, residual, activation, context)
    }
}

/// y = relu(F(x) + shortcut(x)), the paper's equations 1 and 2.
struct Block {
    /// All convolutions of F but the last, each followed by ReLU.
    inner: Vec<ConvNorm>,
    last: ConvNorm,
    /// A 1 × 1 projection if F changes the shape; otherwise x itself.
    shortcut: Option<ConvNorm>,
}

impl Block {
    fn new(
        kind: BlockKind,
        [inputs, width, stride]: [usize; 3],
        norm: NormKind,
        builder: &VarBuilder<'_>,
    ) -> Built<Self> {
        let layer = |(number, spec): (usize, ConvSpec)| {
            let (conv, bn) = (format!("conv{number}"), format!("bn{number}"));
            ConvNorm::new(spec, norm, &builder.pp(conv), &builder.pp(bn))
        };
        let (inner, last) = kind.convolutions(inputs, width, stride);
        let inner = (1..).zip(inner).map(layer).collect::<Built<Vec<_>>>()?;
        let last = layer((inner.len() + 1, last))?;
        let outputs = width * kind.expansion();
        let projection = ConvSpec::same(inputs, outputs, 1).stride(stride);
        let shortcut = (stride != 1 || inputs != outputs).then(|| {
            let builder = builder.pp("shortcut");
            ConvNorm::new(projection, norm, &builder.pp(0), &builder.pp(1))
        });
        Ok(Self { inner, last, shortcut: shortcut.transpose()? })
    }

    /// Output channels of all its convolutions and normalisations together; each has at least as many pixels as the
    /// block's output.
    fn channels(&self) -> usize {
        let layers = self.inner.iter().chain([&self.last]).chain(&self.shortcut);
        2 * layers.map(|layer| layer.outputs).sum::<usize>()
    }

    fn forward(&self, x: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        let mut y = x.clone(); // [n, h, w, in]
        for layer in &self.inner {
            y = layer.forward(&y, None, Activation::Relu, context)?;
        }
        let residual = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x, None, Activation::Identity, context)?,
            None => x.clone(),
        };
        self.last.forward(&y, Some(&residual), Activation::Relu, context) // [n, h/stride, w/stride, out]
    }
}

struct ResNet {
    stem: ConvNorm,
    pool: Option<Pool2d>,
    blocks: Vec<Block>,
    linear: Linear,
    activation_memory: ActivationMemory,
}

/// Builds a residual network for a data set of images.
///
/// # Errors
/// If a parameter is wrong or the inputs are not images.
pub fn resnet(
    parameters: &Parameters,
    data: &DataDescription,
    builder: VarBuilder<'_>,
) -> Built<Box<dyn Model>> {
    let parameters: ResNetParameters = parse_parameters("model", parameters)?;
    let norm = NormKind::new(parameters.norm, parameters.groups)?;
    let (kind, stages) = parameters.stages()?;
    let width = parameters.checked_width()?;
    let mut image = ImageShape::of("resnet", data)?;
    let stem = parameters.stem.convolution(image.channels, width);
    image = image.strided(stem.options.stride);
    let stem = ConvNorm::new(stem, norm, &builder.pp("conv1"), &builder.pp("bn1"))?;
    let mut activation_memory = ActivationMemory::default();
    activation_memory.add(image.pixels(), 2 * width);
    let pool = parameters.stem.pool();
    if let Some(pool) = pool {
        image = image.strided(pool.stride);
        activation_memory.add(image.pixels(), width);
    }
    let mut blocks = Vec::new();
    let mut channels = width;
    for (stage, count) in stages.into_iter().enumerate() {
        let width = width << stage;
        for number in 0..count {
            let stride = if stage > 0 && number == 0 { 2 } else { 1 };
            let builder = builder.pp(format!("layer{}", stage + 1)).pp(number);
            let block = Block::new(kind, [channels, width, stride], norm, &builder)?;
            image = image.strided(stride);
            activation_memory.add(image.pixels(), block.channels());
            blocks.push(block);
            channels = width * kind.expansion();
        }
    }
    let linear = Linear::new(channels, data.classes, &builder.pp("linear"))?;
    Ok(Box::new(ResNet { stem, pool, blocks, linear, activation_memory }))
}

impl Model for ResNet {
    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        let x = ImageShape::channels_last(inputs)?; // [n, h, w, c]
        let mut x = self.stem.forward(&x, None, Activation::Relu, context)?; // [n, h, w, width]
        if let Some(pool) = self.pool {
            x = ops::max_pool2d(&x, pool)?; // [n, h/2, w/2, width]
        }
        for block in &self.blocks {
            x = block.forward(&x, context)?;
        }
        self.linear.forward(&ops::global_avg_pool(&x)?) // [n, classes]
    }

    fn onnx(&self, graph: &mut Graph<'_>) -> Result<Option<String>> {
        self.graph(graph).map(Some)
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

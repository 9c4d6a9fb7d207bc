//! Wide residual networks (Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016, arXiv 1605.07146): few, wide
//! blocks in pre-activation order (He et al., "Identity mappings in deep residual networks", ECCV 2016).
//!
//! WRN-d-w has a 3 × 3 stem of 16 channels and three stages of (d − 4)/6 blocks with 16w, 32w and 64w channels and
//! strides 1, 2, 2. As in the authors' code, a block that changes the shape projects its input after the first
//! normalisation and ReLU, and dropout is applied between ReLU and the second convolution.
//!
//! Names: `conv1`, `layerN.M.{bn1,conv1,bn2,conv2}`, `layerN.M.shortcut.0` if the block changes the shape, `bn1`,
//! `linear`. Convolutions have no bias.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::layers::{
    ActivationMemory, Conv, ConvSpec, Dropout, Dropouts, ImageShape, Linear, Norm, NormKind, NormName,
    check_dropout, onnx,
};
use super::{Built, ForwardContext, Model};
use crate::data::DataDescription;
use crate::onnx::Graph;
use lookbehind_kernels::{self as ops, Activation};

/// Channels of the stem.
const STEM: usize = 16;
const STAGES: usize = 3;
/// Greatest depth and widening factor.
const MAX_DEPTH: usize = 1000;
const MAX_WIDTH: usize = 1 << 10;

/// The parameters under `[model]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WideResNetParameters {
    /// Number of layers d = 6n + 4.
    depth: usize,
    /// Widening factor w.
    width: usize,
    #[serde(default)]
    dropout: f32,
    #[serde(default)]
    norm: NormName,
    groups: Option<usize>,
}

impl WideResNetParameters {
    /// Number of blocks in each stage.
    fn blocks(&self) -> std::result::Result<usize, JobError> {
        if !(1..=MAX_WIDTH).contains(&self.width) {
            let problem = format!("expected 1 to {MAX_WIDTH}, found {}", self.width);
            return Err(JobError::new("model.width", &problem));
        }
        match self.depth.checked_sub(4) {
            Some(layers) if layers > 0 && layers.is_multiple_of(6) && self.depth <= MAX_DEPTH => {
                Ok(layers / 6)
            }
            _ => {
                let problem =
                    format!("expected 6n + 4 from 10 to {MAX_DEPTH}, for example 28, found {}", self.depth);
                Err(JobError::new("model.depth", &problem))
            }
        }
    }
}

/// y = F(x) + shortcut(x) with F = conv ∘ dropout ∘ relu ∘ norm ∘ conv ∘ relu ∘ norm.
struct Block {
    bn1: Norm,
    conv1: Conv,
    bn2: Norm,
    dropout: Dropout,
    conv2: Conv,
    /// A 1 × 1 projection if F changes the shape; otherwise x itself.
    shortcut: Option<Conv>,
}

impl Block {
    fn new(
        [inputs, outputs, stride]: [usize; 3],
        norm: NormKind,
        dropout: Dropout,
        builder: &VarBuilder<'_>,
    ) -> Built<Self> {
        let bn1 = Norm::new(norm, inputs, &builder.pp("bn1"))?;
        let conv1 = Conv::new(ConvSpec::same(inputs, outputs, 3).stride(stride), &builder.pp("conv1"))?;
        let bn2 = Norm::new(norm, outputs, &builder.pp("bn2"))?;
        let conv2 = Conv::new(ConvSpec::same(outputs, outputs, 3), &builder.pp("conv2"))?;
        let projection = ConvSpec::same(inputs, outputs, 1).stride(stride);
        let shortcut = (stride != 1 || inputs != outputs)
            .then(|| Conv::new(projection, &builder.pp("shortcut").pp(0)))
            .transpose()?;
        Ok(Self { bn1, conv1, bn2, dropout, conv2, shortcut })
    }

    fn forward(&self, x: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        let activated = self.bn1.forward(x, None, Activation::Relu, context)?; // [n, h, w, in]
        let y = self.conv1.forward(&activated)?; // [n, h/stride, w/stride, out]
        let y = self.bn2.forward(&y, None, Activation::Relu, context)?;
        let y = self.conv2.forward(&self.dropout.forward(&y, context)?)?;
        match &self.shortcut {
            Some(shortcut) => ops::sum(&y, &shortcut.forward(&activated)?),
            None => ops::sum(&y, x),
        }
    }

    fn onnx(&self, x: &str, graph: &mut Graph<'_>) -> Result<String> {
        let activated = self.bn1.onnx(x, None, Activation::Relu, graph)?;
        let y = self.conv1.onnx(&activated, graph)?;
        let y = self.bn2.onnx(&y, None, Activation::Relu, graph)?;
        let y = self.conv2.onnx(&y, graph)?;
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.onnx(&activated, graph)?,
            None => x.to_owned(),
        };
        Ok(graph.node("Add", &[&y, &shortcut], &[]))
    }
}

struct WideResNet {
    conv1: Conv,
    blocks: Vec<Block>,
    bn1: Norm,
    linear: Linear,
    activation_memory: ActivationMemory,
}

/// Builds a wide residual network for a data set of images.
///
/// # Errors
/// If a parameter is wrong or the inputs are not images.
pub fn wide_resnet(
    parameters: &Parameters,
    data: &DataDescription,
    builder: VarBuilder<'_>,
) -> Built<Box<dyn Model>> {
    let parameters: WideResNetParameters = parse_parameters("model", parameters)?;
    let count = parameters.blocks()?;
    let norm = NormKind::new(parameters.norm, parameters.groups)?;
    check_dropout("model.dropout", parameters.dropout)?;
    let mut image = ImageShape::of("wide_resnet", data)?;
    let conv1 = Conv::new(ConvSpec::same(image.channels, STEM, 3), &builder.pp("conv1"))?;
    let mut dropouts = Dropouts::new(parameters.dropout);
    let mut activation_memory = ActivationMemory::default();
    activation_memory.add(image.pixels(), STEM);
    let mut blocks = Vec::new();
    let mut channels = STEM;
    for stage in 0..STAGES {
        let width = (STEM * parameters.width) << stage;
        for number in 0..count {
            let stride = if stage > 0 && number == 0 { 2 } else { 1 };
            let builder = builder.pp(format!("layer{}", stage + 1)).pp(number);
            blocks.push(Block::new([channels, width, stride], norm, dropouts.layer(), &builder)?);
            image = image.strided(stride);
            // Outputs of both convolutions and both normalisations; the first normalisation has the block's input
            // channels.
            activation_memory.add(image.pixels(), channels + 3 * width);
            channels = width;
        }
    }
    let bn1 = Norm::new(norm, channels, &builder.pp("bn1"))?;
    let linear = Linear::new(channels, data.classes, &builder.pp("linear"))?;
    Ok(Box::new(WideResNet { conv1, blocks, bn1, linear, activation_memory }))
}

impl Model for WideResNet {
    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        let x = ImageShape::channels_last(inputs)?; // [n, h, w, c]
        let mut x = self.conv1.forward(&x)?; // [n, h, w, 16]
        for block in &self.blocks {
            x = block.forward(&x, context)?;
        }
        let x = self.bn1.forward(&x, None, Activation::Relu, context)?; // [n, h/4, w/4, 64 w]
        self.linear.forward(&ops::global_avg_pool(&x)?) // [n, classes]
    }

    fn onnx(&self, graph: &mut Graph<'_>) -> Result<Option<String>> {
        let x = graph.images();
        let mut x = self.conv1.onnx(&x, graph)?;
        for block in &self.blocks {
            x = block.onnx(&x, graph)?;
        }
        let x = self.bn1.onnx(&x, None, Activation::Relu, graph)?;
        let x = onnx::mean_of_pixels(&x, graph);
        self.linear.onnx(&x, graph).map(Some)
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

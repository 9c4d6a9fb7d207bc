//! Residual networks for small images (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR
//! 2016), in the variant that is usual for CIFAR: a 3 × 3 stem without pooling, stages of w, 2w, 4w, 8w channels with
//! strides 1, 2, 2, 2, and global average pooling.
//!
//! Names: `conv1`, `bn1`, `layerN.M.{conv1,bn1,conv2,bn2}` (and `conv3`, `bn3` in a bottleneck),
//! `layerN.M.shortcut.{0,1}` if the block changes the shape, `linear`.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::layers::{ActivationMemory, Conv, ConvSpec, ImageShape, Linear, Norm, NormKind, NormName};
use super::{Built, ForwardContext, Model};
use crate::data::DataDescription;
use lookbehind_kernels::{self as ops, Activation};

/// Most channels of the first stage.
const MAX_WIDTH: usize = 1 << 14;
/// Most stages, and most blocks in a stage.
const MAX_STAGES: usize = 8;
const MAX_BLOCKS: usize = 1000;

/// The parameters under `[model]`: either a name, or the number of blocks of each stage.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResNetParameters {
    name: Option<Name>,
    block: Option<BlockKind>,
    blocks: Option<Vec<usize>>,
    /// Channels of the first stage.
    #[serde(default = "published_width")]
    width: usize,
    #[serde(default)]
    norm: NormName,
    groups: Option<usize>,
}

fn published_width() -> usize {
    64
}

/// The networks of the paper's table 1 that are usual for CIFAR.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    ResNet18,
    ResNet34,
    ResNet50,
}

impl Name {
    fn stages(self) -> (BlockKind, Vec<usize>) {
        match self {
            Self::ResNet18 => (BlockKind::Basic, vec![2, 2, 2, 2]),
            Self::ResNet34 => (BlockKind::Basic, vec![3, 4, 6, 3]),
            Self::ResNet50 => (BlockKind::Bottleneck, vec![3, 4, 6, 3]),
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BlockKind {
    /// Two 3 × 3 convolutions.
    #[default]
    Basic,
    /// 1 × 1 down to the stage's width, 3 × 3, and 1 × 1 up to four times the width.
    Bottleneck,
}

impl BlockKind {
    /// Output channels of a block, in multiples of its stage's width.
    fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }

    /// Convolutions of a block with `inputs` channels in a stage of the given width: all but the last, and the last.
    fn convolutions(self, inputs: usize, width: usize, stride: usize) -> (Vec<ConvSpec>, ConvSpec) {
        let spatial = |inputs| ConvSpec::same(inputs, width, 3).stride(stride);
        match self {
            Self::Basic => (vec![spatial(inputs)], ConvSpec::same(width, width, 3)),
            Self::Bottleneck => {
                let inner = vec![ConvSpec::same(inputs, width, 1), spatial(width)];
                (inner, ConvSpec::same(width, width * self.expansion(), 1))
            }
        }
    }
}

impl ResNetParameters {
    /// Kind of block, and the number of blocks of each stage.
    fn stages(&self) -> std::result::Result<(BlockKind, Vec<usize>), JobError> {
        match (self.name, self.block, &self.blocks) {
            (Some(name), None, None) => Ok(name.stages()),
            (Some(_), _, _) => {
                let problem = "the blocks are those of the name: leave out block and blocks";
                Err(JobError::new("model.name", problem))
            }
            (None, block, Some(blocks)) => {
                check_blocks(blocks)?;
                Ok((block.unwrap_or_default(), blocks.clone()))
            }
            (None, _, None) => {
                Err(JobError::new("model", "expected a name, for example \"resnet18\", or blocks"))
            }
        }
    }

    fn checked_width(&self) -> std::result::Result<usize, JobError> {
        if (1..=MAX_WIDTH).contains(&self.width) {
            return Ok(self.width);
        }
        let problem = format!("expected 1 to {MAX_WIDTH} channels, found {}", self.width);
        Err(JobError::new("model.width", &problem))
    }
}

fn check_blocks(blocks: &[usize]) -> std::result::Result<(), JobError> {
    if !(1..=MAX_STAGES).contains(&blocks.len()) {
        let problem = format!("expected 1 to {MAX_STAGES} stages, found {}", blocks.len());
        return Err(JobError::new("model.blocks", &problem));
    }
    match blocks.iter().enumerate().find(|(_, count)| !(1..=MAX_BLOCKS).contains(*count)) {
        None => Ok(()),
        Some((stage, found)) => {
            let problem = format!("expected 1 to {MAX_BLOCKS} blocks, found {found}");
            Err(JobError::new(&format!("model.blocks[{stage}]"), &problem))
        }
    }
}

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
    let stem = ConvSpec::same(image.channels, width, 3);
    let stem = ConvNorm::new(stem, norm, &builder.pp("conv1"), &builder.pp("bn1"))?;
    let mut activation_memory = ActivationMemory::default();
    activation_memory.add(image.pixels(), 2 * width);
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
    Ok(Box::new(ResNet { stem, blocks, linear, activation_memory }))
}

impl Model for ResNet {
    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        let x = ImageShape::channels_last(inputs)?; // [n, h, w, c]
        let mut x = self.stem.forward(&x, None, Activation::Relu, context)?; // [n, h, w, width]
        for block in &self.blocks {
            x = block.forward(&x, context)?;
        }
        self.linear.forward(&ops::global_avg_pool(&x)?) // [n, classes]
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
